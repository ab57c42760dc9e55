-- Divisions of the organisation, on the day of collection, also those that the client's roles do not cover.
--
-- grain: partition_date, landing_id, division_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column division_id: division
-- column division_name: name of the division
SELECT
    landed.* EXCLUDE (k, document),
    coalesce(document.id, k.id) AS division_id,
    document."name" AS division_name
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(id VARCHAR)',
    document_types := 'STRUCT(id VARCHAR, "name" VARCHAR)'
) AS landed
