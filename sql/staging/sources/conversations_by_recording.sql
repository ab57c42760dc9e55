-- The conversation of a recording that some list of the night names without one, where the night's sources know exactly one
-- conversation for it. The list's entry is then an entry about that conversation: a recording has one row.
--
-- materialized: window
-- grain: partition_date, recording_id
-- column partition_date: UTC day of the conversation's start
-- column recording_id: recording
-- column conversation_id: its conversation
WITH listed AS (
    SELECT partition_date, landing_id, recording_id, conversation_id FROM raw.export_failures
    UNION ALL
    SELECT partition_date, landing_id, recording_id, conversation_id FROM raw.export_manifests
    UNION ALL
    SELECT partition_date, landing_id, recording_id, conversation_id FROM raw.orphan_recordings
    UNION ALL
    SELECT partition_date, landing_id, recording_id, conversation_id FROM raw.listed_recordings
),

entries AS (
    SELECT l.*
    FROM listed AS l
    INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
    WHERE r.is_usable
),

without_conversation AS (
    SELECT DISTINCT partition_date, recording_id
    FROM entries
    WHERE conversation_id IS NULL
),

known AS (
    SELECT partition_date, recording_id, conversation_id FROM entries
    UNION ALL
    SELECT partition_date, recording_id, key_conversation_id FROM staging.recording_metadata
    UNION ALL
    SELECT partition_date, recording_id, conversation_id
    FROM staging.export_objects
    WHERE key_finding IS NULL
    UNION ALL
    SELECT partition_date, key_recording_id, key_conversation_id FROM staging.export_sidecars
    UNION ALL
    SELECT partition_date, recording_id, conversation_id FROM staging.conversation_events
)

SELECT partition_date, recording_id, any_value(conversation_id) AS conversation_id
FROM known
SEMI JOIN without_conversation USING (partition_date, recording_id)
GROUP BY partition_date, recording_id
HAVING count(DISTINCT conversation_id) = 1
