-- Every version and delete marker under the night's folders of the export bucket; the document is the listing's
-- entry.
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
-- column is_latest: whether this is what a plain read gives
-- column is_delete_marker: whether this is a delete marker
-- column object_bytes: size; null for a delete marker
-- column etag: ETag without quotes: no digest, and no MD5 where the object was put in parts
-- column last_modified: when the version was put (UTC)
-- column bucket_region: region of the bucket, as S3 says
-- column organization_id: organization folder above year=, if it is a UUID
-- column conversation_id: conversation of the folder, if it is a UUID
-- column recording_id: recording of the file's name
-- column object_role: media, sidecar or other
-- column media_extension: lower-case extension of a media object
-- column path_date: date of the folders
-- column path_hour: hour of the folders
-- column key_finding: null, unsafe_key, bad_conversation_id or unrecognised
-- column checksum_algorithm: checksums that S3 keeps for the object
-- column checksum_type: FULL_OBJECT, or COMPOSITE for checksums of parts
SELECT
    landed.* EXCLUDE (k, document),
    document.bucket,
    document.object_key,
    document.version_id,
    document.is_latest,
    document.is_delete_marker,
    document.object_bytes,
    document.etag,
    document.last_modified,
    k.bucket_region,
    k.organization_id,
    k.conversation_id,
    k.recording_id,
    k.object_role,
    k.media_extension,
    k.path_date,
    k.path_hour,
    k.key_finding,
    document.checksum_algorithm,
    document.checksum_type
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(
        bucket_region VARCHAR, organization_id VARCHAR, conversation_id VARCHAR, recording_id VARCHAR,
        object_role VARCHAR, media_extension VARCHAR, path_date DATE, path_hour INTEGER, key_finding VARCHAR
    )',
    document_types := 'STRUCT(
        bucket VARCHAR, object_key VARCHAR, version_id VARCHAR, is_latest BOOLEAN, is_delete_marker BOOLEAN,
        object_bytes BIGINT, etag VARCHAR, last_modified TIMESTAMP, checksum_algorithm VARCHAR,
        checksum_type VARCHAR
    )'
) AS landed
