-- Digests of the exported media. Every load with a usable receipt has its rows; `is_current` marks the newest load. The
-- table also has the digests that the fixity job found when the bytes of an object had changed.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column bucket: bucket
-- column object_key: key
-- column version_id: version
-- column etag: ETag in the listing
-- column last_modified: when the object was written (UTC)
-- column object_bytes: size in bytes
-- column sha256: SHA-256 of the bytes
-- column md5: MD5 of the bytes
-- column method: streamed (all bytes were read), server (the full-object checksum that S3 stores) or fixity (the fixity job read the bytes again)
-- column hashed_at: when the digest was taken (UTC)
-- column error: reason why there is no digest
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
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
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable
UNION ALL
SELECT
    partition_date,
    NULL AS landing_id,
    false AS is_current,
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
