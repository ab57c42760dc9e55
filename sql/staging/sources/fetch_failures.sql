-- Requests that failed for good, with the request and the answer. Every load with a usable receipt has its rows;
-- `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column resource: raw table of the load that failed
-- column subject_id: conversation id, object key or the like
-- column http_status: HTTP status of the last answer; null without an answer
-- column error_code: error code of the answer
-- column correlation_id: the vendor's correlation id
-- column message: message without personal data
-- column occurred_at: time of the last attempt (UTC)
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.document_sha256,
    d.document_uri,
    d.resource,
    d.subject_id,
    d.http_status,
    d.error_code,
    d.correlation_id,
    d.message,
    d.occurred_at
FROM raw.fetch_failures AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable
