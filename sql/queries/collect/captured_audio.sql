-- Audio of captured conversations that is in the bucket and hashed: one row for each recording.
SELECT o.conversation_id, o.recording_id, o.bucket, o.object_key, o.version_id, o.object_bytes, d.sha256
FROM raw.export_objects AS o
INNER JOIN raw.media_digests AS d
    ON d.partition_date = o.partition_date AND d.bucket = o.bucket AND d.object_key = o.object_key
    AND d.version_id IS NOT DISTINCT FROM o.version_id AND d.etag IS NOT DISTINCT FROM o.etag
WHERE o.partition_date = $night AND o.landing_id = (
        SELECT landing_id FROM raw.extraction_receipts
        WHERE partition_date = $night AND resource = 'export_objects' AND receipt_state IN ('complete', 'partial')
        ORDER BY sequence DESC NULLS LAST, landing_id DESC LIMIT 1
    ) AND o.object_role = 'media'
    AND o.is_latest AND NOT o.is_delete_marker AND o.object_bytes > 0
    AND o.recording_id IS NOT NULL AND d.sha256 IS NOT NULL
    AND o.conversation_id IN (SELECT conversation_id FROM raw.captures
WHERE partition_date = $night)
QUALIFY row_number() OVER (
    PARTITION BY o.conversation_id, o.recording_id ORDER BY o.last_modified DESC, o.object_key, d.hashed_at
) = 1
ORDER BY o.conversation_id, o.recording_id
