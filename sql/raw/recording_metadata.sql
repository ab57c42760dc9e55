-- Recordings of a conversation as GET /api/v2/conversations/{id}/recordingmetadata lists them: one row each, or
-- one row with recording_id null where it lists none.
--
-- grain: partition_date, landing_id, key_conversation_id, recording_id
-- column partition_date: UTC day of conversation start that this row was collected for
-- column landing_id: the load it came with; current when the newest receipt of its resource names it
-- column source_uri: where it was read: API path, object, or capture document
-- column fetched_at: when it was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold these bytes
-- column document_state: ok, or why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document as received
-- column key_conversation_id: conversation that was asked for
-- column conversation_id: conversationId in the document
-- column recording_id: the recording; null when the conversation has none
-- column session_id: session that was recorded; archived stubs have none
-- column path: path
-- column start_time: startTime as written
-- column end_time: endTime as written
-- column media: audio, chat, email, message, screen
-- column media_subtype: Trunk, Station, Consult, Screen, Snippet
-- column file_state: ARCHIVED, AVAILABLE, DELETED, RESTORED, RESTORING, UPLOADING, ERROR
-- column archive_date: when it is or was archived (UTC)
-- column delete_date: when it is or was deleted (UTC)
-- column export_date: when it is due for export (UTC)
-- column exported_date: when the platform stamped it as exported (UTC)
-- column region: AWS region that holds the recording
SELECT
    landed.* EXCLUDE (k, document),
    k.conversation_id AS key_conversation_id,
    recording.conversationId AS conversation_id,
    recording.id AS recording_id,
    recording.sessionId AS session_id,
    recording.path AS "path",
    recording.startTime AS start_time,
    recording.endTime AS end_time,
    recording.media,
    recording.mediaSubtype AS media_subtype,
    recording.fileState AS file_state,
    try_cast(recording.archiveDate AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS archive_date,
    try_cast(recording.deleteDate AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS delete_date,
    try_cast(recording.exportDate AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS export_date,
    try_cast(recording.exportedDate AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS exported_date,
    recording.region
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(conversation_id VARCHAR)',
    document_types := 'STRUCT(
        id VARCHAR, conversationId VARCHAR, sessionId VARCHAR, path VARCHAR, startTime VARCHAR, endTime VARCHAR,
        media VARCHAR, mediaSubtype VARCHAR, fileState VARCHAR, archiveDate VARCHAR, deleteDate VARCHAR,
        exportDate VARCHAR, exportedDate VARCHAR, region VARCHAR
    )[]'
) AS landed,
    LATERAL (SELECT unnest(CASE WHEN len(document) > 0 THEN document ELSE [NULL] END) AS recording)
