-- Every object, version and delete marker of the export bucket, with what its key says. Rows of every load that has a receipt; `is_current` marks the newest load.
--
-- grain: partition_date, landing_id, bucket, object_key, version_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: the load it came with
-- column is_current: the load is the night's newest
-- column source_uri: where it was received from
-- column fetched_at: when (UTC)
-- column document_sha256: SHA-256 of the bytes as received
-- column document_uri: landing file and row that hold them
-- column document_state: ok, or why the bytes could not be read
-- column bucket: the export bucket
-- column object_key: key, as listed
-- column version_id: version, where the bucket keeps them
-- column is_latest: the newest version of its key
-- column is_delete_marker: the key was deleted
-- column object_bytes: size
-- column etag: ETag, never a digest
-- column last_modified: when the object was written (UTC)
-- column bucket_region: region of the bucket
-- column organization_id: organisation in the key
-- column conversation_id: conversation in the key
-- column recording_id: recording in the key
-- column object_role: media, sidecar or other
-- column media_extension: file type of the media
-- column path_date: UTC day in the key
-- column path_hour: UTC hour in the key
-- column key_finding: why the key names no recording
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
INNER JOIN staging.receipts AS r ON r.partition_date = d.partition_date AND r.landing_id = d.landing_id
WHERE r.is_usable
