-- What the recordingexports interface says about a recording. Rows of every load that has a receipt; `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: the load it came with
-- column is_current: the load is the night's newest
-- column source_uri: where it was received from
-- column fetched_at: when (UTC)
-- column document_sha256: SHA-256 of the bytes as received
-- column document_uri: landing file and row that hold them
-- column document_state: ok, or why the bytes could not be read
-- column export_id: the export
-- column conversation_id: conversation
-- column recording_id: recording
-- column has_tags_field: the document has a custom_data field
-- column tags [pii]: its content, verbatim
-- column media_uri: where it says the media is
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.source_uri,
    d.fetched_at,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.export_id,
    d.conversation_id,
    d.recording_id,
    d.has_tags_field,
    d.tags,
    d.media_uri
FROM raw.export_manifests AS d
INNER JOIN staging.receipts AS r ON r.partition_date = d.partition_date AND r.landing_id = d.landing_id
WHERE r.is_usable
