-- Who accessed one recording, or its whole conversation, at the vendor.
SELECT *
FROM custody.access_events
WHERE partition_date = $partition_date AND conversation_id = $conversation_id AND recording_id IN ($recording_id, '')
ORDER BY occurred_at, access_id
