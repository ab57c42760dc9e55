-- One row per load of a resource: what the load asked for and what it received. The receipt is written after the load's
-- rows. A load without a receipt did not finish, and no model reads its rows.
--
-- grain: partition_date, resource, landing_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column resource: raw table of the load
-- column receipt_state: complete, partial (another run could bring more), not_configured or failed
-- column asked: things that the load asked for; null where only the source knows the number
-- column documents: documents that the load received
-- column rows: rows that the load inserted
-- column failures: things that the load could not read
-- column requests: requests of the load to the API, including retries, and objects of the bucket that were read
-- column retries: requests that repeated an earlier request
-- column started_at: start of the collection (UTC)
-- column finished_at: end of the collection (UTC)
-- column data_available_until: the vendor's watermark (UTC); conversation_details only
-- column sequence: position among all loads, given while the warehouse was held; null for loads of earlier versions
-- column landing_files: landing files of the load, including those of its failures, with SHA-256 and size
-- column collector: OAuth client that collected, from tokens/me
-- column organization_id: organisation of that client
-- column operator: person or service that started the run
-- column tool_version: version of custody_pipeline
-- column git_revision: commit of the code; null outside of a work tree
-- column detail: remark for people
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
    document."sequence",
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
        data_available_until TIMESTAMP, "sequence" BIGINT, landing_files STRUCT(uri VARCHAR, sha256 VARCHAR, "bytes" BIGINT)[],
        collector VARCHAR, organization_id VARCHAR, "operator" VARCHAR, tool_version VARCHAR,
        git_revision VARCHAR, detail VARCHAR
    )'
) AS landed
