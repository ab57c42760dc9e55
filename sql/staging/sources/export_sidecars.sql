-- Sidecars of the exported media. Every load with a usable receipt has its rows; `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read
-- column bucket: bucket
-- column object_key: key
-- column version_id: version
-- column key_conversation_id: conversation in the key
-- column key_recording_id: recording in the key
-- column conversation_id: conversation that the document names
-- column recording_id: recording that the document names
-- column media_type: kind of media
-- column media_subtype: Trunk, Station, Consult, Screen, Snippet
-- column user_ids: agents
-- column start_text: start, as written
-- column end_text: end, as written
-- column duration_ms: duration in milliseconds
-- column duration_written: duration, as JSON
-- column conversation_start: start of the conversation (UTC), if the document tells it
-- column conversation_end: end of the conversation (UTC), if the document tells it
-- column initial_direction: inbound or outbound
-- column has_tags_field: true if the document has a field custom_data, customData or attributes
-- column tags [pii]: content of the first of these fields that has a tag, verbatim
-- column other_tags [pii]: contents of the other fields
-- column participants [pii]: participants with attributes, if the document is a conversation detail document
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.source_uri,
    d.fetched_at,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.bucket,
    d.object_key,
    d.version_id,
    d.key_conversation_id,
    d.key_recording_id,
    d.conversation_id,
    d.recording_id,
    d.media_type,
    d.media_subtype,
    d.user_ids,
    d.start_time AS start_text,
    d.end_time AS end_text,
    d.duration_ms,
    d.duration_written,
    d.conversation_start,
    d.conversation_end,
    d.initial_direction,
    d.has_tags_field,
    d.tags,
    d.other_tags,
    d.participants
FROM raw.export_sidecars AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable
