-- Nights of recordings and conversations. The bucket's folders and the analytics job place a recording or conversation in
-- a night. Lists of failed, exported and orphaned recordings, the list of all recordings and events are not lists of one
-- night: they place nothing, and only show which nights have a list that names a recording.
--
-- materialized: window
-- grain: partition_date, id, is_placed
-- column partition_date: UTC day of the conversation's start
-- column id: recording or conversation
-- column is_placed: true if the recording or conversation belongs to this night; false if a list only named it
SELECT partition_date, recording_id AS id, true AS is_placed FROM staging.media_objects
UNION
SELECT partition_date, conversation_id, true FROM staging.media_objects
UNION
SELECT partition_date, recording_id, true FROM staging.sidecar_objects
UNION
SELECT partition_date, conversation_id, true FROM staging.sidecar_objects
UNION
SELECT partition_date, conversation_id, true
FROM staging.conversation_details
WHERE is_current AND conversation_id IS NOT NULL
UNION
SELECT partition_date, recording_id, false
FROM staging.export_failures
WHERE is_current AND recording_id IS NOT NULL
UNION
SELECT partition_date, recording_id, false
FROM staging.export_manifests
WHERE is_current AND recording_id IS NOT NULL
UNION
SELECT partition_date, coalesce(recording_id, 'orphan:' || orphan_id), false
FROM staging.orphan_recordings
WHERE is_current
UNION
SELECT partition_date, recording_id, false
FROM staging.listed_recordings
WHERE is_current AND recording_id IS NOT NULL
UNION
SELECT partition_date, recording_id, false
FROM staging.conversation_events
WHERE recording_id IS NOT NULL
