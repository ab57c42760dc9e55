-- One row per load of a resource: what was asked, what came. Written after the load's rows, so a load without a
-- receipt is one that did not finish and is never seen.
--
-- grain: partition_date, resource, landing_id
-- column partition_date: UTC day of conversation start that this row was collected for
-- column landing_id: the load it came with; current when the newest receipt of its resource names it
-- column source_uri: where it was read: API path, object, or capture document
-- column fetched_at: when it was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold these bytes
-- column document_state: ok, or why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document as received
-- column resource: raw table that was loaded
-- column receipt_state: complete, partial (running again could bring more), not_configured or failed
-- column asked: how many things were asked for; null where only the source knows
-- column documents: documents received
-- column rows: rows loaded from them
-- column failures: things that could not be read
-- column requests: requests made, retries included
-- column retries: requests that repeated an earlier one
-- column started_at: begin of the collection (UTC)
-- column finished_at: its end (UTC)
-- column data_available_until: the analytics watermark (UTC); conversation_details only
-- column landing_files: the landing files of the load with their SHA-256 and size, those of its failures included
-- column collector: OAuth client that collected, from tokens/me
-- column organization_id: organization of that client
-- column operator: who ran it
-- column tool_version: version of custody_pipeline
-- column git_revision: commit of the code, where it ran from a work tree
-- column detail: a remark for people
SELECT
    landed.* EXCLUDE (k, document),
    document.resource,
    document.receipt_state,
    document.asked,
    document.documents,
    document."rows",
    document.failures,
    document.requests,
    document.retries,
    document.started_at,
    document.finished_at,
    document.data_available_until,
    document.landing_files,
    document.collector,
    document.organization_id,
    document."operator",
    document.tool_version,
    document.git_revision,
    document.detail
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(unused VARCHAR)',
    document_types := 'STRUCT(
        resource VARCHAR, receipt_state VARCHAR, asked BIGINT, documents BIGINT, "rows" BIGINT, failures BIGINT,
        requests BIGINT, retries BIGINT, started_at TIMESTAMP, finished_at TIMESTAMP,
        data_available_until TIMESTAMP, landing_files STRUCT(uri VARCHAR, sha256 VARCHAR, "bytes" BIGINT)[],
        collector VARCHAR, organization_id VARCHAR, "operator" VARCHAR, tool_version VARCHAR,
        git_revision VARCHAR, detail VARCHAR
    )'
) AS landed
