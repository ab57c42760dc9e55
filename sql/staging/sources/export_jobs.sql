-- Export jobs whose interval touches the night. Every load with a usable receipt has its rows; `is_current` marks the
-- newest load.
--
-- grain: partition_date, landing_id, job_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read
-- column job_id: export job
-- column job_state: PENDING, READY, PROCESSING, FULFILLED, FAILED, CANCELLED
-- column action: EXPORT, ARCHIVE or DELETE
-- column interval_start: start of the interval of conversations (UTC)
-- column interval_end: end of the interval, exclusive (UTC)
-- column include_sensitive: true if the job includes recordings with sensitive data
-- column include_screen: true if the job includes screen recordings
-- column include_snippet: true if the job includes snippets
-- column requested_at: when the job was created (UTC)
-- column total_recordings: recordings that the job selected
-- column total_skipped: recordings that the job skipped
-- column total_failed: recordings that the job could not export
-- column total_processed: recordings that the job handled
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.source_uri,
    d.fetched_at,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.job_id,
    d.job_state,
    d.action,
    d.interval_start,
    d.interval_end,
    d.include_sensitive,
    d.include_screen,
    d.include_snippet,
    d.requested_at,
    d.total_recordings,
    d.total_skipped,
    d.total_failed,
    d.total_processed
FROM raw.export_jobs AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable
