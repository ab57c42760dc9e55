-- Divisions of the night's conversations, as the analytics job or the single read has them, with their names. A
-- conversation without any document has no row. Not published: a name may change, and is not sealed.
--
-- grain: partition_date, conversation_id, division_id
-- column partition_date DATE: UTC day of the conversation's start
-- column conversation_id VARCHAR: conversation
-- column division_id VARCHAR: division that it belongs to
-- column division_name VARCHAR: name of the division; null if the list of divisions lacks it
WITH named_divisions AS (
    SELECT partition_date, conversation_id, unnest(division_ids) AS division_id
    FROM staging.conversation_details
    WHERE is_current AND document_state = 'ok'
    UNION
    SELECT partition_date, key_conversation_id, unnest(division_ids)
    FROM staging.conversations
    WHERE is_current AND document_state = 'ok'
),

recorded AS (
    SELECT DISTINCT partition_date, conversation_id
    FROM custody.chain_of_custody
    WHERE NOT list_contains(gap_reasons, 'ERASED')
)

SELECT n.partition_date, n.conversation_id, n.division_id, d.division_name
FROM named_divisions AS n
INNER JOIN recorded AS r USING (partition_date, conversation_id)
LEFT JOIN staging.divisions AS d USING (division_id)
WHERE n.division_id IS NOT NULL
ORDER BY n.partition_date, n.conversation_id, n.division_id
