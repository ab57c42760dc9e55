-- Recordings that a bulk job could not export. The platform gives no reason.
--
-- grain: partition_date, landing_id, job_id, conversation_id, recording_id
-- column partition_date: UTC day of conversation start that this row was collected for
-- column landing_id: the load it came with; current when the newest receipt of its resource names it
-- column source_uri: where it was read: API path, object, or capture document
-- column fetched_at: when it was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold these bytes
-- column document_state: ok, or why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document as received
-- column job_id: id of the bulk job
-- column conversation_id: conversation of the recording
-- column recording_id: recording that was not exported
SELECT
    landed.* EXCLUDE (k, document),
    k.job_id,
    document.conversation.id AS conversation_id,
    document.recording.id AS recording_id
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(job_id VARCHAR)',
    document_types := 'STRUCT(conversation STRUCT(id VARCHAR), recording STRUCT(id VARCHAR))'
) AS landed
