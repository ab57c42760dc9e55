-- Recordings from GET /api/v2/conversations/{id}/recordingmetadata, one row per recording. An empty list has one row
-- with recording_id null.
--
-- grain: partition_date, landing_id, key_conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column key_conversation_id: conversation that the request named
-- column conversation_id: conversationId in the document
-- column recording_id: recording; null if the conversation has none
-- column session_id: session of the recording; null for the stub of an archived recording
-- column path: path of the recording
-- column start_time: startTime, as written
-- column end_time: endTime, as written
-- column media: audio, chat, email, message, screen
-- column media_subtype: Trunk, Station, Consult, Screen, Snippet
-- column file_state: ARCHIVED, AVAILABLE, DELETED, RESTORED, RESTORING, UPLOADING, ERROR
-- column archive_date: when the recording was or will be archived (UTC)
-- column delete_date: when the recording was or will be deleted (UTC)
-- column export_date: when the export of the recording is due (UTC)
-- column exported_date: when the vendor stamped the recording as exported (UTC)
-- column region: AWS region that stores the recording
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            -- Only an empty list says that there is no recording.
            WHEN document_state = 'ok' AND given(recording.id) IS NULL AND len(document) IS DISTINCT FROM 0 THEN 'wrong_shape'
            ELSE document_state
        END AS document_state
    ),
    k.conversation_id AS key_conversation_id,
    recording.conversationId AS conversation_id,
    given(recording.id) AS recording_id,
    given(recording.sessionId) AS session_id,
    recording.path AS "path",
    recording.startTime AS start_time,
    recording.endTime AS end_time,
    recording.media,
    recording.mediaSubtype AS media_subtype,
    recording.fileState AS file_state,
    utc_moment(recording.archiveDate) AS archive_date,
    utc_moment(recording.deleteDate) AS delete_date,
    utc_moment(recording.exportDate) AS export_date,
    utc_moment(recording.exportedDate) AS exported_date,
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
