-- Recordings that an export job could not export. The platform gives no reason.
--
-- grain: partition_date, landing_id, job_id, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column job_id: export job
-- column conversation_id: conversation of the recording
-- column recording_id: recording that was not exported
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            WHEN document_state = 'ok' AND given(document.recording.id) IS NULL THEN 'wrong_shape'
            ELSE document_state
        END AS document_state
    ),
    k.job_id,
    given(document.conversation.id) AS conversation_id,
    given(document.recording.id) AS recording_id
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(job_id VARCHAR)',
    document_types := 'STRUCT(conversation STRUCT(id VARCHAR), recording STRUCT(id VARCHAR))'
) AS landed
