-- Custody events of the recordings in `$keys`, with their control numbers, in order.
SELECT k.control_number, e.occurred_at, e.action, e.who, e.operator, e.what, e.where_at, e.why, e.how,
    e.tool_version, e.git_revision, e.sha256_before, e.sha256_after, e.conversation_id, e.recording_id
FROM (
    SELECT unnest($keys::STRUCT(control_number VARCHAR, n DATE, c VARCHAR, r VARCHAR)[], recursive := true)
) AS k
INNER JOIN custody.custody_events AS e
    ON e.partition_date = k.n AND e.conversation_id = k.c AND e.recording_id = k.r
ORDER BY k.control_number, e.sequence
