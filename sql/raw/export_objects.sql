-- Every version and delete marker in the night's folders of the export bucket. The document is the entry of the
-- listing.
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
-- column is_latest: true for the newest version of the key
-- column is_delete_marker: true for a delete marker
-- column object_bytes: size in bytes; null for a delete marker
-- column etag: ETag without quotes; the ETag is no digest, and no MD5 after a multipart upload
-- column last_modified: when the version was written (UTC)
-- column bucket_region: region of the bucket, as S3 says
-- column organization_id: organisation folder above `year=`, if the folder is a UUID
-- column conversation_id: conversation folder, if the folder is a UUID
-- column recording_id: recording in the file's name
-- column object_role: media, sidecar or other
-- column media_extension: lower-case file extension of a media object
-- column path_date: UTC day in the key
-- column path_hour: UTC hour in the key
-- column key_finding: null, or the reason why the key names no recording: unsafe_key, bad_conversation_id or unrecognised; also null for documents and folders that are known to be no recordings
-- column checksum_algorithm: algorithms of the checksums that S3 stores for the object
-- column checksum_type: FULL_OBJECT, or COMPOSITE for a checksum of part checksums
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
