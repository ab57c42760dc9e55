-- Receipts of a night's sources: of the load that the rows are from, and of the newest, which is another one where
-- it failed.
SELECT e.resource, e.receipt_state, e.asked, e.documents, e."rows", e.failures, e.requests, e.retries,
    e.started_at, e.finished_at, e.data_available_until, e.detail, e.landing_files, e.organization_id,
    e.collector, e.git_revision
FROM raw.extraction_receipts AS e
INNER JOIN staging.receipts AS r
    ON r.partition_date = e.partition_date AND r.resource = e.resource AND r.landing_id = e.landing_id
WHERE e.partition_date = $night AND (r.is_current OR r.is_newest)
ORDER BY e.resource, e.landing_id
