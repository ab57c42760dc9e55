-- The gaps of one recording. `evidence` has what `proofs` has, in JSON.
SELECT COLUMNS(lambda name: name <> 'proofs')
FROM custody.gaps
WHERE partition_date = $partition_date AND conversation_id = $conversation_id AND recording_id = $recording_id
ORDER BY list_position(['error', 'warning', 'info'], severity), reason
