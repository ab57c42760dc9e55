-- Digest of each media object version of the night. The pipeline reads all bytes of the object, or takes the checksum
-- of the whole object that S3 stores. A version with a digest from an earlier load is not read again: its row is
-- copied.
--
-- grain: partition_date, landing_id, bucket, object_key, version_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column bucket: export bucket
-- column object_key: key in the bucket
-- column version_id: version; null where versions could not be listed
-- column etag: ETag in the listing
-- column last_modified: when the version was written (UTC)
-- column object_bytes: size in the listing, in bytes
-- column sha256: SHA-256 of the object's bytes; null if the bytes could not be read
-- column md5: MD5 of the object's bytes, for comparison with other lists; null for method server
-- column method: streamed (all bytes were read) or server (the full-object checksum that S3 stores)
-- column hashed_at: when the digest was taken (UTC)
-- column error: reason why there is no digest
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
