-- Things that could not be read. A row is current if the newest receipt of its resource names its landing_id.
--
-- grain: partition_date, landing_id, subject_id, occurred_at
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column resource: raw table of the load that failed
-- column subject_id: conversation, job, object key or path
-- column http_status: HTTP status of the last answer; null without an answer
-- column error_code: error code of the answer
-- column permanent: true if a retry would fail the same way
-- column attempts: requests that were made
-- column correlation_id: the vendor's correlation id of the last answer, for the vendor's support
-- column message: what was tried, what came back and what to do
-- column occurred_at: time of the last attempt (UTC)
SELECT
    landed.* EXCLUDE (k, document),
    document.resource,
    document.subject_id,
    document.http_status,
    document.error_code,
    document.permanent,
    document.attempts,
    document.correlation_id,
    document.message,
    document.occurred_at
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(unused VARCHAR)',
    document_types := 'STRUCT(
        resource VARCHAR, subject_id VARCHAR, http_status INTEGER, error_code VARCHAR, permanent BOOLEAN,
        attempts INTEGER, correlation_id VARCHAR, message VARCHAR, occurred_at TIMESTAMP
    )'
) AS landed
