-- Digest of each media object version of the night, taken by reading all its bytes, or the server's own where it
-- keeps one of the whole object. A version hashed in an earlier load is not read again: its row is repeated.
--
-- grain: partition_date, landing_id, bucket, object_key, version_id
-- column partition_date: UTC day of conversation start that this row was collected for
-- column landing_id: the load it came with; current when the newest receipt of its resource names it
-- column source_uri: where it was read: API path, object, or capture document
-- column fetched_at: when it was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold these bytes
-- column document_state: ok, or why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document as received
-- column bucket: the export bucket
-- column object_key: key within the bucket
-- column version_id: version; null where versions could not be listed
-- column etag: ETag when it was listed
-- column last_modified: when the version was put (UTC)
-- column object_bytes: size when it was listed
-- column sha256: SHA-256 of the object's bytes; null when they could not be read
-- column md5: MD5 of the object's bytes, for comparison with other lists; null for method server
-- column method: streamed: all bytes were read; server: S3's own full-object checksum
-- column hashed_at: when the digest was taken (UTC)
-- column error: why there is none
SELECT
    landed.* EXCLUDE (k, document),
    document.bucket,
    document.object_key,
    document.version_id,
    document.etag,
    document.last_modified,
    document.object_bytes,
    document.sha256,
    document.md5,
    document."method",
    document.hashed_at,
    document."error"
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(unused VARCHAR)',
    document_types := 'STRUCT(
        bucket VARCHAR, object_key VARCHAR, version_id VARCHAR, etag VARCHAR, last_modified TIMESTAMP,
        object_bytes BIGINT, sha256 VARCHAR, md5 VARCHAR, "method" VARCHAR, hashed_at TIMESTAMP, "error" VARCHAR
    )'
) AS landed
