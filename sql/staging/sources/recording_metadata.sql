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
-- column start_time: start (UTC); null if it cannot be parsed
-- column end_time: end (UTC); null if it cannot be parsed
-- column start_text: start, as written
-- column end_text: end, as written
-- column has_zone: true if both times have a time zone
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
    CASE WHEN d.start_time >= '1900' AND d.start_time < '2200' AND d.start_time[5] = '-'
        THEN try_cast(regexp_replace(d.start_time, '([+-]\d\d):?(\d\d)$', '\1:\2') AS TIMESTAMPTZ)::TIMESTAMP END AS start_time,
    CASE WHEN d.end_time >= '1900' AND d.end_time < '2200' AND d.end_time[5] = '-'
        THEN try_cast(regexp_replace(d.end_time, '([+-]\d\d):?(\d\d)$', '\1:\2') AS TIMESTAMPTZ)::TIMESTAMP END AS end_time,
    d.start_time AS start_text,
    d.end_time AS end_text,
    coalesce(regexp_matches(d.start_time, '(Z|[+-]\d\d(:?\d\d)?)$'), true)
        AND coalesce(regexp_matches(d.end_time, '(Z|[+-]\d\d(:?\d\d)?)$'), true) AS has_zone,
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
