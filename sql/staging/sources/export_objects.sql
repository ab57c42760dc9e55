-- Every object version and delete marker of the export bucket, with the parts of its key. Every load with a usable
-- receipt has its rows; `is_current` marks the newest load.
--
-- grain: partition_date, landing_id, bucket, object_key, version_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column bucket: export bucket
-- column object_key: key, as listed
-- column version_id: version; null where the bucket has no versions
-- column is_latest: true for the newest version of the key
-- column is_delete_marker: true for a delete marker
-- column object_bytes: size in bytes
-- column etag: ETag; the ETag is never used as a digest
-- column last_modified: when the version was written (UTC)
-- column bucket_region: region of the bucket
-- column organization_id: organisation in the key
-- column conversation_id: conversation in the key
-- column recording_id: recording in the key
-- column object_role: media, sidecar or other
-- column media_extension: file extension of the media
-- column path_date: UTC day in the key
-- column path_hour: UTC hour in the key
-- column key_finding: null, or the reason why the key names no recording
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.bucket,
    d.object_key,
    d.version_id,
    d.is_latest,
    d.is_delete_marker,
    d.object_bytes,
    d.etag,
    d.last_modified,
    d.bucket_region,
    d.organization_id,
    d.conversation_id,
    d.recording_id,
    d.object_role,
    d.media_extension,
    d.path_date,
    d.path_hour,
    d.key_finding
FROM raw.export_objects AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable
