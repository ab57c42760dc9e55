-- Digests of the exported media. Every load that has a receipt; the newest is `is_current`. And what the fixity job found
-- when it read an object again and its bytes were others.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: the load it came with
-- column is_current: the load is the night's newest
-- column source_uri: where it was received from
-- column fetched_at: when (UTC)
-- column document_sha256: SHA-256 of the bytes as received
-- column document_uri: landing file and row that hold them
-- column document_state: ok, or why the bytes could not be read
-- column bucket: bucket
-- column object_key: key
-- column version_id: version
-- column etag: ETag at that time
-- column last_modified: of the object (UTC)
-- column object_bytes: bytes hashed
-- column sha256: SHA-256 of the bytes
-- column md5: MD5 of the bytes
-- column method: streamed by us, the server's own full-object digest, or fixity: read again
-- column hashed_at: when (UTC)
-- column error: why there is no digest
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.source_uri,
    d.fetched_at,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.bucket,
    d.object_key,
    d.version_id,
    d.etag,
    d.last_modified,
    d.object_bytes,
    d.sha256,
    d.md5,
    d.method,
    d.hashed_at,
    d.error
FROM raw.media_digests AS d
INNER JOIN staging.receipts AS r ON r.partition_date = d.partition_date AND r.landing_id = d.landing_id
WHERE r.is_usable
UNION ALL
SELECT
    partition_date,
    NULL AS landing_id,
    false AS is_current,
    's3://' || bucket || '/' || object_key AS source_uri,
    checked_at AS fetched_at,
    NULL AS document_sha256,
    NULL AS document_uri,
    NULL AS document_state,
    bucket,
    object_key,
    version_id,
    NULL AS etag,
    NULL AS last_modified,
    object_bytes,
    sha256,
    NULL AS md5,
    'fixity' AS method,
    checked_at AS hashed_at,
    NULL AS error
FROM raw.fixity_checks
WHERE result = 'changed'
