-- Scripts as they were published on the day of collection, from GET /api/v2/scripts/published.
--
-- grain: partition_date, landing_id, script_id
-- column partition_date: UTC day of conversation start that this row was collected for
-- column landing_id: the load it came with; current when the newest receipt of its resource names it
-- column source_uri: where it was read: API path, object, or capture document
-- column fetched_at: when it was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold these bytes
-- column document_state: ok, or why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document as received
-- column script_id: the script
-- column script_name: its name
-- column version_id: version that was published
-- column published_date: since when (UTC)
SELECT
    landed.* EXCLUDE (k, document),
    coalesce(document.id, k.id) AS script_id,
    document."name" AS script_name,
    document.versionId AS version_id,
    try_cast(document.publishedDate AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS published_date
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(id VARCHAR)',
    document_types := 'STRUCT(id VARCHAR, "name" VARCHAR, versionId VARCHAR, publishedDate VARCHAR)'
) AS landed
