-- Answers of the recording interface, one row per recording. An empty answer has one row without a recording. Every
-- load with a usable receipt has its rows; `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column is_latest: true for the entry of the recording in the current load that was exported last
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read
-- column key_conversation_id: conversation that the request named
-- column conversation_id: conversation that the document names
-- column recording_id: recording; null if the answer was empty
-- column session_id: session of the recording
-- column start_text: start, as written
-- column end_text: end, as written
-- column media: audio, chat, email or message
-- column media_subtype: Trunk, Station, Consult, Screen, Snippet
-- column file_state: ARCHIVED, AVAILABLE, DELETED, RESTORED, RESTORING, UPLOADING, ERROR
-- column archive_date: when the recording was or will be archived (UTC)
-- column delete_date: when the recording was or will be deleted (UTC)
-- column export_date: when the export of the recording is due (UTC)
-- column exported_date: when the vendor stamped the recording as exported (UTC)
-- column region: region of the recording
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    r.is_current AND row_number() OVER (
        PARTITION BY d.partition_date, d.landing_id, d.key_conversation_id, d.recording_id
        ORDER BY d.exported_date DESC NULLS LAST, d.document_sha256, d.file_state, d.session_id
    ) = 1 AS is_latest,
    d.source_uri,
    d.fetched_at,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.key_conversation_id,
    d.conversation_id,
    d.recording_id,
    d.session_id,
    d.start_time AS start_text,
    d.end_time AS end_text,
    d.media,
    d.media_subtype,
    d.file_state,
    d.archive_date,
    d.delete_date,
    d.export_date,
    d.exported_date,
    d.region
FROM raw.recording_metadata AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable
