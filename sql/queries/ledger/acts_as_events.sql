-- Events of the acts of `$night` since `$since`, which are later than all its events in `custody.custody_events`.
SELECT a.*, a.operator AS who,
    coalesce(e.sequence, 0) + row_number() OVER (
        PARTITION BY a.conversation_id, a.recording_id
        ORDER BY a.occurred_at, a.action, a.what, a.where_at, a.sha256_after, a.why
    ) AS sequence
FROM raw.acts AS a
LEFT JOIN (
    SELECT conversation_id, recording_id, max(sequence) AS sequence
    FROM custody.custody_events
    WHERE partition_date = $night
    GROUP BY conversation_id, recording_id
) AS e ON e.conversation_id = a.conversation_id AND e.recording_id = a.recording_id
WHERE a.partition_date = $night AND a.occurred_at >= $since
