-- Participants of the night's conversations from every document that names participants.
--
-- materialized: window
-- grain: partition_date, conversation_id, participant_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column participant_id: participant
-- column purpose: agent, customer, ivr, acd…; lower case
-- column user_id: user of an agent
-- column started_at: when the participant joined (UTC)
-- column session_ids: sessions of the participant, and the sessions at the other ends
WITH participant_records AS (
    SELECT partition_date, conversation_id, participant_id, purpose, user_id, session_start AS started_at,
        [session_id, peer_id] AS session_ids
    FROM staging.sessions
    UNION ALL
    SELECT partition_date, conversation_id, p.participant_id, lower(p.purpose), p.user_id, NULL, []
    FROM (
        SELECT partition_date, conversation_id, unnest(participants) AS p
        FROM staging.conversation_details
        WHERE document_state = 'ok'
    )
    UNION ALL
    SELECT partition_date, conversation_id, p.participant_id, lower(p.purpose), p.user_id,
        utc_moment(p.start_time), []
    FROM (
        SELECT partition_date, key_conversation_id AS conversation_id, unnest(participants) AS p
        FROM staging.conversations
        WHERE document_state = 'ok'
    )
    UNION ALL
    SELECT partition_date, conversation_id, p.participant_id, lower(p.purpose), NULL, NULL, []
    FROM (
        SELECT partition_date, conversation_id, unnest(participants) AS p
        FROM staging.captures
        WHERE document_state = 'ok'
    )
)

SELECT
    partition_date,
    conversation_id,
    participant_id,
    min(purpose) AS purpose,
    min(user_id) AS user_id,
    min(started_at) AS started_at,
    list_sort(list_distinct(flatten(list(session_ids)))) AS session_ids
FROM participant_records
WHERE participant_id IS NOT NULL AND participant_id <> ''
GROUP BY partition_date, conversation_id, participant_id
