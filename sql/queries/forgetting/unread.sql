-- Conversations of which some night could read no document, and the latest such night. Tags may be known from an
-- earlier load or live capture; numbers, queues and agents are not.
SELECT conversation_id, max(partition_date)
FROM custody.chain_of_custody
WHERE custom_data_state = 'unavailable' OR (
        conversation_sha256 IS NULL
        AND list_has_any(gap_reasons, ['CONVERSATION_FETCH_FAILED', 'CONVERSATION_FORBIDDEN', 'CONVERSATION_NOT_FOUND'])
    )
GROUP BY conversation_id
