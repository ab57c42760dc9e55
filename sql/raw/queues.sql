-- Queues that the client may see, on the day of collection.
--
-- grain: partition_date, landing_id, queue_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column queue_id: queue
-- column queue_name: name of the queue
SELECT
    landed.* EXCLUDE (k, document),
    coalesce(document.id, k.id) AS queue_id,
    document."name" AS queue_name
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(id VARCHAR)',
    document_types := 'STRUCT(id VARCHAR, "name" VARCHAR)'
) AS landed
