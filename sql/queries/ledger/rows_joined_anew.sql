-- An act `joined` for each row of `chain_of_custody` that differs from the row that was joined last.
WITH joined_last AS (
    SELECT conversation_id, recording_id, arg_max(sha256_after, (coalesce(position, 0), occurred_at)) AS row_sha256
    FROM raw.acts
    WHERE partition_date = $night AND action = 'joined'
    GROUP BY conversation_id, recording_id
)

SELECT c.partition_date, c.conversation_id, c.recording_id, $now::TIMESTAMP AS occurred_at, 'joined' AS action,
    $operator AS operator, 'row of chain_of_custody' AS what, 'custody.chain_of_custody' AS where_at,
    'nightly join' AS why, $how AS how, $tool_version AS tool_version, $git_revision AS git_revision,
    l.row_sha256 AS sha256_before, c.row_sha256 AS sha256_after,
    $position::BIGINT AS position
FROM custody.chain_of_custody AS c
LEFT JOIN joined_last AS l ON l.conversation_id = c.conversation_id AND l.recording_id = c.recording_id
WHERE c.partition_date = $night AND l.row_sha256 IS DISTINCT FROM c.row_sha256
