-- The gaps of one recording. A source that failed as a whole has one gap, which is the gap of each recording that has its
-- reason in `$reasons`. `evidence` has what `proofs` has, in JSON.
SELECT COLUMNS(lambda name: name <> 'proofs')
FROM custody.gaps
WHERE partition_date = $partition_date AND (
    (conversation_id = $conversation_id AND recording_id = $recording_id)
    OR (starts_with(recording_id, 'source:') AND list_contains($reasons::VARCHAR[], reason))
)
ORDER BY list_position(['error', 'warning', 'info'], severity), reason
