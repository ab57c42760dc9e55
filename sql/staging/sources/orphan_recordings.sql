-- Recordings that the vendor stores without a conversation. Every load with a usable receipt has its rows; `is_current`
-- marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read
-- column orphan_id: orphan
-- column conversation_id: conversation; of an entry without one, the one that the night's sources know for the recording
-- column recording_id: recording
-- column media_type: CALL, CHAT, EMAIL or SCREEN
-- column created_time: when the platform found the orphan (UTC)
-- column start_text: start of the recording, as written
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.source_uri,
    d.fetched_at,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.orphan_id,
    coalesce(d.conversation_id, c.conversation_id) AS conversation_id,
    d.recording_id,
    d.media_type,
    d.created_time,
    d.start_time AS start_text
FROM raw.orphan_recordings AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
LEFT JOIN staging.conversations_by_recording AS c
    ON c.partition_date = d.partition_date AND c.recording_id = d.recording_id
WHERE r.is_usable
