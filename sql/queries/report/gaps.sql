-- The gaps of the nights from `$first` to `$last`. custody.gaps has one row of a source that failed as a whole: here each of
-- its recordings has the gap.
SELECT * FROM custody.gaps
WHERE partition_date BETWEEN $first AND $last AND NOT starts_with(recording_id, 'source:')
UNION ALL BY NAME
SELECT g.* REPLACE (
    c.conversation_id AS conversation_id, c.recording_id AS recording_id, c.queue_names AS queue_names,
    c.script_id AS script_id, c.script_version AS script_version
)
FROM custody.gaps AS g
INNER JOIN custody.chain_of_custody AS c
    ON c.partition_date = g.partition_date AND list_contains(c.gap_reasons, g.reason)
ANTI JOIN custody.gaps AS own
    ON own.partition_date = c.partition_date AND own.conversation_id = c.conversation_id
    AND own.recording_id = c.recording_id AND own.reason = g.reason
WHERE g.partition_date BETWEEN $first AND $last AND starts_with(g.recording_id, 'source:')
