-- The custody events of a recording, and those of its night as a whole except publications.
SELECT *
FROM custody.custody_events
WHERE partition_date = $partition_date
    AND (conversation_id = $conversation_id AND recording_id = $recording_id
        OR conversation_id = '' AND action <> 'published')
ORDER BY occurred_at, action
