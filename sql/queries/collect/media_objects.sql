-- Every version of every media object in a night's newest listing, without delete markers.
SELECT bucket, object_key, version_id, etag, last_modified, object_bytes,
    checksum_algorithm LIKE '%SHA256%' AND checksum_type = 'FULL_OBJECT'
FROM raw.export_objects
WHERE partition_date = $night AND landing_id = (
        SELECT landing_id FROM raw.extraction_receipts
        WHERE partition_date = $night AND resource = 'export_objects' AND receipt_state IN ('complete', 'partial')
        ORDER BY sequence DESC NULLS LAST, landing_id DESC LIMIT 1
    )
    AND object_role = 'media' AND NOT is_delete_marker
ORDER BY bucket, object_key, last_modified, version_id
