-- Requests for deletion at the vendor, from GET /api/v2/gdpr/requests: one row for each conversation that the vendor no
-- longer has and each request that names somebody of it. The document is made by the pipeline, so that nothing of the
-- person is kept: it has the request's id, status and date, and the digest of the request as received.
--
-- grain: partition_date, landing_id, conversation_id, request_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column conversation_id: conversation that the vendor no longer has
-- column request_id: request
-- column request_type: GDPR_DELETE, as written
-- column request_status: INITIATED, SEARCHING, UPDATING, DELETING, FINALIZING, COMPLETED or ERROR, as written
-- column created_date: when the request was submitted (UTC)
-- column matched_by: fields of the request's subject that name somebody of the conversation
-- column request_sha256: SHA-256 of the request's bytes as received, which are not kept
SELECT
    landed.* EXCLUDE (k, document),
    document.conversation_id,
    document.request_id,
    document.request_type,
    document.status AS request_status,
    utc_moment(document.created_date) AS created_date,
    document.matched_by,
    document.request_sha256
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(conversation_id VARCHAR, request_id VARCHAR)',
    document_types := 'STRUCT(
        conversation_id VARCHAR, request_id VARCHAR, request_type VARCHAR, status VARCHAR, created_date VARCHAR,
        matched_by VARCHAR[], request_sha256 VARCHAR
    )'
) AS landed
