-- Requests that failed for good, each with what was asked and what came back. Rows of every load that has a receipt; `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: the load it came with
-- column is_current: the load is the night's newest
-- column source_uri: where it was received from
-- column fetched_at: when (UTC)
-- column document_sha256: SHA-256 of the bytes as received
-- column document_uri: landing file and row that hold them
-- column document_state: ok, or why the bytes could not be read
-- column resource: what was collected
-- column subject_id: conversation id, object key or the like
-- column http_status: HTTP status, if any came
-- column error_code: the vendor's code
-- column permanent: retrying would not help
-- column attempts: how often it was tried
-- column correlation_id: the vendor's correlation id
-- column message: text without personal data
-- column occurred_at: when (UTC)
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.source_uri,
    d.fetched_at,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.resource,
    d.subject_id,
    d.http_status,
    d.error_code,
    d.permanent,
    d.attempts,
    d.correlation_id,
    d.message,
    d.occurred_at
FROM raw.fetch_failures AS d
INNER JOIN staging.receipts AS r ON r.partition_date = d.partition_date AND r.landing_id = d.landing_id
WHERE r.is_usable
