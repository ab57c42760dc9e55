-- The night's part of the vendor's list of all recordings, from GET /api/v2/recordings/retention/query on the day of
-- collection.
--
-- grain: partition_date, landing_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column recording_id: recording
-- column conversation_id: conversation of the recording
-- column creation_time: when the recording was created (UTC)
-- column archive_date: when the recording was or will be archived (UTC)
-- column archive_medium: where it is archived
-- column delete_date: when the recording was or will be deleted (UTC)
-- column export_date: when the export of the recording is due (UTC)
-- column exported_date: when the vendor stamped the recording as exported (UTC)
SELECT
    landed.* EXCLUDE (k, document),
    coalesce(given(document.recordingId), given(k.recording_id)) AS recording_id,
    coalesce(given(document.conversationId), given(k.conversation_id)) AS conversation_id,
    utc_moment(document.creationTime) AS creation_time,
    utc_moment(document.archiveDate) AS archive_date,
    document.archiveMedium AS archive_medium,
    utc_moment(document.deleteDate) AS delete_date,
    utc_moment(document.exportDate) AS export_date,
    utc_moment(document.exportedDate) AS exported_date
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(recording_id VARCHAR, conversation_id VARCHAR)',
    document_types := 'STRUCT(
        recordingId VARCHAR, conversationId VARCHAR, creationTime VARCHAR, archiveDate VARCHAR, archiveMedium VARCHAR,
        deleteDate VARCHAR, exportDate VARCHAR, exportedDate VARCHAR
    )'
) AS landed
