-- Every tag that a source has of one recording.
SELECT *
FROM custody.custom_data
WHERE partition_date = $partition_date AND conversation_id = $conversation_id AND recording_id = $recording_id
ORDER BY tag_key, observed_at, source
