-- Ids of recordings of the conversations `$ids` that a row of another conversation has, too. Ids in lower case.
WITH every_row AS (
    SELECT lower(conversation_id) AS conversation, lower(recording_id) AS recording FROM custody.chain_of_custody
    UNION
    SELECT lower(conversation_id), lower(recording_id) FROM raw.row_versions
)

SELECT recording
FROM every_row
WHERE conversation <> ''
GROUP BY recording
HAVING bool_or(list_contains($ids, conversation)) AND NOT bool_and(list_contains($ids, conversation))
ORDER BY recording
