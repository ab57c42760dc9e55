-- Events of the acts of `$night` that are later than `$newest`, its newest event in `custody.custody_events`; null: of all.
SELECT a.* EXCLUDE (position), a.operator AS who,
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
WHERE a.partition_date = $night AND ($newest::TIMESTAMP IS NULL OR a.occurred_at > $newest)
