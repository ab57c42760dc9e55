-- Which of `$ids` are conversations of a night, by everything that is loaded so far.
SELECT id
FROM (SELECT unnest($ids::VARCHAR[]) AS id)
WHERE id IN (SELECT conversation_id FROM raw.conversation_details
WHERE partition_date = $night)
    OR id IN (SELECT conversation_id FROM raw.export_objects
WHERE partition_date = $night)
    OR id IN (SELECT conversation_id FROM raw.recording_metadata
WHERE partition_date = $night)
    OR id IN (SELECT conversation_id FROM raw.conversations
WHERE start_time::DATE = $night)
