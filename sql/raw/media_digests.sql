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
    $partition_date::DATE AS partition_date,
    $landing_id::VARCHAR AS landing_id,
    source_uri,
    fetched_at,
    sha256 AS document_sha256,
    $folder::VARCHAR || '/' || parse_filename(filename) || '#L' || "row" AS document_uri,
    state AS document_state,
    "bytes" AS document_bytes,
    document.bucket AS bucket,
    document.object_key AS object_key,
    document.version_id AS version_id,
    document.etag AS etag,
    document.last_modified AS last_modified,
    document.object_bytes AS object_bytes,
    document.sha256 AS sha256,
    document.md5 AS md5,
    document."method" AS "method",
    document.hashed_at AS hashed_at,
    document."error" AS "error"
FROM read_json(
    $files,
    format = 'newline_delimited',
    compression = 'gzip',
    filename = true,
    maximum_object_size = 33554432,
    columns = {
        k: 'STRUCT(unused VARCHAR)',
        "row": 'BIGINT',
        source_uri: 'VARCHAR',
        fetched_at: 'TIMESTAMP',
        sha256: 'VARCHAR',
        "bytes": 'BIGINT',
        state: 'VARCHAR',
        document: 'STRUCT(
            bucket VARCHAR, object_key VARCHAR, version_id VARCHAR, etag VARCHAR, last_modified TIMESTAMP,
            object_bytes BIGINT, sha256 VARCHAR, md5 VARCHAR, "method" VARCHAR, hashed_at TIMESTAMP, "error" VARCHAR
        )'
    }
)
