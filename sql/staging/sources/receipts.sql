-- Every load that ended with a receipt, and whether it is the one to read: per night and resource the newest load
-- that brought something. Rows of a killed run have no receipt and are seen by nobody.
--
-- grain: partition_date, resource, landing_id
-- column partition_date: UTC day that was collected
-- column resource: what was collected (name of the raw table)
-- column landing_id: the load; sortable by time
-- column receipt_state: complete, partial, failed or not_configured
-- column is_usable: the load brought rows (complete or partial)
-- column is_current: the newest usable load of the night and resource
-- column is_newest: the newest receipt of the night and resource, whatever its state
-- column started_at: when collecting began (UTC)
-- column finished_at: when collecting ended (UTC)
-- column data_available_until: the vendor's watermark, where the resource has one
-- column asked: how many things were asked for
-- column documents: how many documents came
-- column failures: how many requests failed for good
-- column landing_files: where the bytes lie, with their hashes
-- column collector: the service identity that collected
-- column organization_id: the organisation it belongs to
-- column operator: on whose behalf
-- column tool_version: version of this tool
-- column git_revision: its revision
-- column detail: what the receipt adds in words
SELECT
    partition_date,
    resource,
    landing_id,
    receipt_state,
    receipt_state IN ('complete', 'partial') AS is_usable,
    receipt_state IN ('complete', 'partial')
        AND row_number() OVER (
            PARTITION BY partition_date, resource, receipt_state IN ('complete', 'partial')
            ORDER BY landing_id DESC, finished_at DESC
        ) = 1 AS is_current,
    row_number() OVER (PARTITION BY partition_date, resource ORDER BY landing_id DESC, finished_at DESC) = 1 AS is_newest,
    started_at,
    finished_at,
    data_available_until,
    asked,
    documents,
    failures,
    landing_files,
    collector,
    organization_id,
    operator,
    tool_version,
    git_revision,
    detail
FROM raw.extraction_receipts
