-- Bulk export jobs that touch the night, as their status answers say. Rows of every load that has a receipt; `is_current` marks the newest load.
--
-- grain: partition_date, landing_id, job_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: the load it came with
-- column is_current: the load is the night's newest
-- column source_uri: where it was received from
-- column fetched_at: when (UTC)
-- column document_sha256: SHA-256 of the bytes as received
-- column document_uri: landing file and row that hold them
-- column document_state: ok, or why the bytes could not be read
-- column job_id: the job
-- column job_state: PENDING, READY, PROCESSING, FULFILLED, FAILED, CANCELLED
-- column action: EXPORT, ARCHIVE or DELETE
-- column interval_start: conversations active from (UTC)
-- column interval_end: until (UTC)
-- column include_sensitive: recordings with sensitive data are asked for
-- column include_screen: screen recordings are asked for
-- column requested_at: when the job was made (UTC)
-- column total_recordings: the job's own count
-- column total_skipped: recordings it left out
-- column total_failed: recordings it failed
-- column total_processed: recordings it says it handled
-- column error_message: the job's error
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
    d.requested_at,
    d.total_recordings,
    d.total_skipped,
    d.total_failed,
    d.total_processed,
    d.error_message
FROM raw.export_jobs AS d
INNER JOIN staging.receipts AS r ON r.partition_date = d.partition_date AND r.landing_id = d.landing_id
WHERE r.is_usable
