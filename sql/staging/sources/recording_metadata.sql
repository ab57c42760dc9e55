-- The recording interface's answer, one row per recording in it, and one without a recording for an empty answer. Every
-- load that has a receipt; the newest is `is_current`.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: the load it came with
-- column is_current: the load is the night's newest
-- column is_latest: and of its entries for the recording, the one that was exported last
-- column source_uri: where it was received from
-- column fetched_at: when (UTC)
-- column document_sha256: SHA-256 of the bytes as received
-- column document_uri: landing file and row that hold them
-- column document_state: ok, or why the bytes could not be read
-- column key_conversation_id: the conversation asked for
-- column conversation_id: the conversation the document names
-- column recording_id: recording; null when the answer was empty
-- column session_id: session it was recorded in
-- column start_time: start (UTC); null if it cannot be read
-- column end_time: end (UTC); null if it cannot be read
-- column start_text: start, as written
-- column end_text: end, as written
-- column has_zone: both times say which zone they are in
-- column media: audio, chat, email or message
-- column media_subtype: Trunk, Station, Consult, Screen, Snippet
-- column file_state: ARCHIVED, AVAILABLE, DELETED, RESTORED, RESTORING, UPLOADING, ERROR
-- column archive_date: when it was or will be archived (UTC)
-- column delete_date: when it was or will be deleted (UTC)
-- column export_date: when its export was scheduled (UTC)
-- column exported_date: when its export was stamped (UTC)
-- column region: region of the recording
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    r.is_current AND row_number() OVER (
        PARTITION BY d.partition_date, d.landing_id, d.key_conversation_id, d.recording_id
        ORDER BY d.exported_date DESC NULLS LAST, d.document_sha256
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
    try_cast(regexp_replace(d.start_time, '([+-]\d\d):?(\d\d)$', '\1:\2') AS TIMESTAMPTZ)::TIMESTAMP AS start_time,
    try_cast(regexp_replace(d.end_time, '([+-]\d\d):?(\d\d)$', '\1:\2') AS TIMESTAMPTZ)::TIMESTAMP AS end_time,
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
INNER JOIN staging.receipts AS r ON r.partition_date = d.partition_date AND r.landing_id = d.landing_id
WHERE r.is_usable
