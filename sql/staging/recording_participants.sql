-- Which participants' tags apply to which recording.
--
-- An agent's tags belong to the recordings of that agent's leg first: where a recording's leg is known (by its session, or
-- by the agents that its companion names), tags of other agents' legs come after (`leg_rank` 1). Everyone else (customer,
-- ivr, acd…) speaks for the whole conversation, and so does every agent where the leg is unknown (`leg_rank` 0).
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, participant_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column participant_id: participant
-- column purpose: what the participant was
-- column started_at: when the participant joined (UTC)
-- column leg_rank: 0 for the recording's own leg and for conversation-wide participants, 1 for other agents' legs
WITH pairs AS (
    SELECT r.partition_date, r.conversation_id, r.recording_id, p.participant_id, p.purpose, p.started_at,
        p.purpose IN ('agent', 'user') AS is_agent,
        p.purpose IN ('agent', 'user')
            AND (
                coalesce(list_contains(r.leg_users, p.user_id), false)
                OR (len(r.leg_users) = 0 AND coalesce(list_contains(p.session_ids, r.session_id), false))
                OR (len(r.leg_users) = 0 AND r.session_id IS NULL AND coalesce(list_contains(r.user_ids, p.user_id), false))
            ) AS is_own_leg
    FROM staging.recordings AS r
    INNER JOIN staging.participants AS p ON p.partition_date = r.partition_date AND p.conversation_id = r.conversation_id
    WHERE r.partition_date >= $window_start AND r.partition_date < $window_end
)

SELECT
    partition_date,
    conversation_id,
    recording_id,
    participant_id,
    purpose,
    started_at,
    CASE
        WHEN is_agent AND NOT is_own_leg
            AND bool_or(is_own_leg) OVER (PARTITION BY partition_date, conversation_id, recording_id) THEN 1
        ELSE 0
    END AS leg_rank
FROM pairs
