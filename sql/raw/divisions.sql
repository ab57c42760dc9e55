-- Divisions that the client may see, on the day of collection. What is in other divisions is silently missing from
-- lists.
--
-- grain: partition_date, landing_id, division_id
-- column partition_date: UTC day of conversation start that this row was collected for
-- column landing_id: the load it came with; current when the newest receipt of its resource names it
-- column source_uri: where it was read: API path, object, or capture document
-- column fetched_at: when it was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold these bytes
-- column document_state: ok, or why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document as received
-- column division_id: the division
-- column division_name: its name
SELECT
    landed.* EXCLUDE (k, document),
    coalesce(document.id, k.id) AS division_id,
    document."name" AS division_name
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(id VARCHAR)',
    document_types := 'STRUCT(id VARCHAR, "name" VARCHAR)'
) AS landed
