-- Every load that ended with a receipt. For each night and resource, the current load is the newest load that brought
-- rows. A killed run has no receipt, so no model reads its rows. The newest load is the one with the highest sequence,
-- which no clock decides. Loads of earlier versions have no sequence. They come before all others, in order of their ids.
--
-- grain: partition_date, resource, landing_id
-- column partition_date: UTC day that was collected
-- column resource: raw table of the load
-- column landing_id: load; landing ids sort by the clock of the machine that collected
-- column receipt_state: complete, partial, failed or not_configured
-- column is_usable: true if the load brought rows (complete or partial)
-- column is_current: true for the newest usable load of the night and resource
-- column is_newest: true for the newest load of the night and resource, in any state
-- column started_at: start of the collection (UTC)
-- column finished_at: end of the collection (UTC)
-- column data_available_until: the vendor's watermark (UTC); null where the resource has none
-- column asked: things that the load asked for
-- column documents: documents that the load received
-- column failures: requests that failed for good
-- column sequence: position among all loads; 0 for loads of earlier versions
-- column collector: OAuth client that collected
-- column organization_id: organisation of that client
-- column operator: person or service that started the run
-- column tool_version: version of custody_pipeline
-- column git_revision: commit of the code
-- column detail: remark for people
SELECT
    partition_date,
    resource,
    landing_id,
    receipt_state,
    receipt_state IN ('complete', 'partial') AS is_usable,
    receipt_state IN ('complete', 'partial')
        AND row_number() OVER (
            PARTITION BY partition_date, resource, receipt_state IN ('complete', 'partial')
            ORDER BY "sequence" DESC NULLS LAST, landing_id DESC
        ) = 1 AS is_current,
    row_number() OVER (
        PARTITION BY partition_date, resource ORDER BY "sequence" DESC NULLS LAST, landing_id DESC
    ) = 1 AS is_newest,
    started_at,
    finished_at,
    data_available_until,
    asked,
    documents,
    failures,
    coalesce("sequence", 0) AS "sequence",
    collector,
    organization_id,
    operator,
    tool_version,
    git_revision,
    detail
FROM raw.extraction_receipts
