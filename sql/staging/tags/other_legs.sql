-- Agents whose leg a recording did not record. In staging.recording_tags, the tags of these agents come after the tags
-- of the recording's own agent.
--
-- The session of a recording, or the agents in its sidecar, tell its leg. If the leg is unknown, all agents belong to
-- the recording and the model has no row. An agent who took a call twice is two participants: the session tells which.
-- Participants who are no agents (customer, ivr, acd…) always belong to the recording.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, participant_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column participant_id: agent of another leg
WITH pairs AS (
    SELECT r.partition_date, r.conversation_id, r.recording_id, p.participant_id, p.user_id,
        coalesce(list_contains(p.session_ids, r.session_id), false) AS has_session,
        coalesce(list_contains(r.leg_users, p.user_id), false)
            OR (len(r.leg_users) = 0 AND has_session)
            OR (len(r.leg_users) = 0 AND r.session_id IS NULL AND coalesce(list_contains(r.user_ids, p.user_id), false))
            AS may_be_own_leg
    FROM staging.recordings AS r
    INNER JOIN staging.participants AS p USING (partition_date, conversation_id)
    WHERE p.purpose IN ('agent', 'user')
),

own_legs AS (
    SELECT *
    FROM pairs
    WHERE may_be_own_leg
    QUALIFY has_session OR NOT bool_or(has_session) OVER (PARTITION BY partition_date, conversation_id, recording_id, user_id)
)

SELECT p.partition_date, p.conversation_id, p.recording_id, p.participant_id
FROM pairs AS p
SEMI JOIN own_legs USING (partition_date, conversation_id, recording_id)
ANTI JOIN own_legs USING (partition_date, conversation_id, recording_id, participant_id)
