-- Users of the organisation, on the day of collection. Only recordings' agents are shown to analysts.
--
-- grain: partition_date, landing_id, user_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column user_id [pii]: user
-- column user_name [pii]: name of the user
-- column email [pii]: e-mail address of the user
-- column division_name: name of the user's division
SELECT
    landed.* EXCLUDE (k, document),
    coalesce(document.id, k.id) AS user_id,
    document."name" AS user_name,
    document.email,
    document.division."name" AS division_name
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(id VARCHAR)',
    document_types := 'STRUCT(id VARCHAR, "name" VARCHAR, email VARCHAR, division STRUCT("name" VARCHAR))'
) AS landed
