-- What could not be read. A row is current when the newest receipt of the resource that it names has its
-- landing_id.
--
-- grain: partition_date, landing_id, subject_id, occurred_at
-- column partition_date: UTC day of conversation start that this row was collected for
-- column landing_id: the load it came with; current when the newest receipt of its resource names it
-- column source_uri: where it was read: API path, object, or capture document
-- column fetched_at: when it was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold these bytes
-- column document_state: ok, or why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document as received
-- column resource: raw table whose load met the failure
-- column subject_id: conversation, job, object key or path
-- column http_status: status of the last answer; null when there was none
-- column error_code: the answer's error code
-- column permanent: whether asking again would give the same
-- column attempts: requests made for it
-- column correlation_id: the platform's id of the last answer, for its support
-- column message: what was tried, what came back, what to do
-- column occurred_at: when it was given up (UTC)
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
