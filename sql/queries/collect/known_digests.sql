-- Digests that earlier loads of a night took, also loads that were killed. The earliest comes last.
SELECT bucket, object_key, version_id, etag, last_modified, object_bytes, sha256, md5, method, hashed_at
FROM raw.media_digests
WHERE partition_date = $night AND sha256 IS NOT NULL
ORDER BY hashed_at DESC, landing_id DESC
