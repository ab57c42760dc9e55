-- Exported media per recording: the live object that counts, and how many there are of it.
--
-- The object that counts is live (the newest version of its key, not deleted), not empty, the latest written, then the
-- first by key.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation in the key
-- column recording_id: recording in the key
-- column organization_id: organisation in the key
-- column is_live: there is an object now
-- column object_uri: the object that counts
-- column bucket: its bucket
-- column object_key: its key
-- column version_id: its version
-- column object_bytes: its size
-- column last_modified: when it was written (UTC)
-- column bucket_region: region of the bucket
-- column hour_start: the hour in its key (UTC)
-- column live_keys: live, non-empty keys of this recording
-- column key_versions: versions of those keys, delete markers apart
-- column distinct_contents: different contents among them, by digest, else by ETag and size
-- column has_digests: every one of them was digested
-- column media_sha256: SHA-256 of the object that counts
-- column media_md5: its MD5
-- column media_hashed_at: when that digest was first taken (UTC)
-- column digest_error: why there is no digest
-- column earlier_sha256: other digests the same keys had, now or in an earlier load
-- column all_uris: every version, for evidence
-- column listed_at: when the bucket was listed (UTC)
WITH digests AS (
    -- Digests of every load: the first time each was taken, and what the same key was before.
    SELECT partition_date, bucket, object_key, coalesce(version_id, '') AS version_id, sha256, any_value(md5) AS md5,
        min(hashed_at) AS hashed_at, bool_or(is_current) AS is_current
    FROM staging.media_digests
    WHERE sha256 IS NOT NULL AND partition_date >= $window_start AND partition_date < $window_end
    GROUP BY partition_date, bucket, object_key, coalesce(version_id, ''), sha256
),

digest_of_version AS (
    SELECT * FROM digests
    QUALIFY row_number() OVER (
        PARTITION BY partition_date, bucket, object_key, version_id ORDER BY is_current DESC, hashed_at DESC, sha256
    ) = 1
),

digests_of_key AS (
    SELECT partition_date, bucket, object_key, list_sort(list_distinct(list(sha256))) AS sha256s
    FROM digests
    GROUP BY partition_date, bucket, object_key
),

errors AS (
    SELECT partition_date, bucket, object_key, coalesce(version_id, '') AS version_id, min(error) AS error
    FROM staging.media_digests
    WHERE is_current AND sha256 IS NULL AND partition_date >= $window_start AND partition_date < $window_end
    GROUP BY partition_date, bucket, object_key, coalesce(version_id, '')
),

versions AS (
    SELECT o.*, d.sha256, d.md5, d.hashed_at, k.sha256s, e.error,
        o.is_latest AND NOT o.is_delete_marker AS is_live_version
    FROM staging.export_objects AS o
    LEFT JOIN digest_of_version AS d
        ON d.partition_date = o.partition_date AND d.bucket = o.bucket AND d.object_key = o.object_key
        AND d.version_id = coalesce(o.version_id, '')
    LEFT JOIN digests_of_key AS k
        ON k.partition_date = o.partition_date AND k.bucket = o.bucket AND k.object_key = o.object_key
    LEFT JOIN errors AS e
        ON e.partition_date = o.partition_date AND e.bucket = o.bucket AND e.object_key = o.object_key
        AND e.version_id = coalesce(o.version_id, '')
    WHERE o.is_current AND o.object_role = 'media' AND o.recording_id IS NOT NULL AND o.key_finding IS NULL
        AND o.partition_date >= $window_start AND o.partition_date < $window_end
),

counted AS (
    SELECT *,
        bool_or(is_live_version) OVER of_key AS key_is_live,
        bool_or(is_live_version) OVER of_recording AS is_live,
        row_number() OVER (
            PARTITION BY partition_date, conversation_id, recording_id
            ORDER BY is_live_version DESC, NOT is_delete_marker DESC, object_bytes > 0 DESC, last_modified DESC, object_key, version_id
        ) AS choice
    FROM versions
    WINDOW
        of_key AS (PARTITION BY partition_date, conversation_id, recording_id, bucket, object_key),
        of_recording AS (PARTITION BY partition_date, conversation_id, recording_id)
)

SELECT
    partition_date,
    conversation_id,
    recording_id,
    any_value(organization_id) FILTER (choice = 1) AS organization_id,
    bool_or(is_live) AS is_live,
    any_value('s3://' || bucket || '/' || object_key) FILTER (choice = 1 AND is_live) AS object_uri,
    any_value(bucket) FILTER (choice = 1 AND is_live) AS bucket,
    any_value(object_key) FILTER (choice = 1 AND is_live) AS object_key,
    any_value(version_id) FILTER (choice = 1 AND is_live) AS version_id,
    any_value(object_bytes) FILTER (choice = 1 AND is_live) AS object_bytes,
    any_value(last_modified) FILTER (choice = 1 AND is_live) AS last_modified,
    any_value(bucket_region) AS bucket_region,
    any_value(path_date + to_hours(path_hour::BIGINT)) FILTER (choice = 1) AS hour_start,
    count(DISTINCT object_key) FILTER (is_live_version AND object_bytes > 0) AS live_keys,
    count(*) FILTER (NOT is_delete_marker AND object_bytes > 0) AS key_versions,
    count(DISTINCT coalesce(sha256, etag || '/' || object_bytes::VARCHAR)) FILTER (
        NOT is_delete_marker AND object_bytes > 0 AND key_is_live
    ) AS distinct_contents,
    coalesce(bool_and(sha256 IS NOT NULL) FILTER (NOT is_delete_marker AND object_bytes > 0), false) AS has_digests,
    any_value(sha256) FILTER (choice = 1 AND is_live) AS media_sha256,
    any_value(md5) FILTER (choice = 1 AND is_live) AS media_md5,
    any_value(hashed_at) FILTER (choice = 1 AND is_live) AS media_hashed_at,
    any_value(error) FILTER (choice = 1 AND is_live) AS digest_error,
    list_sort(list_distinct(flatten(list(sha256s) FILTER (sha256s IS NOT NULL AND key_is_live)))) AS earlier_sha256,
    list(
        {
            'uri': 's3://' || bucket || '/' || object_key || coalesce('?versionId=' || version_id, ''),
            'sha256': sha256,
            'what': CASE WHEN is_delete_marker THEN 'delete marker' ELSE object_bytes::VARCHAR || ' bytes' END,
            'observed_at': last_modified
        }
        ORDER BY last_modified, object_key, version_id
    ) AS all_uris,
    max(fetched_at) AS listed_at
FROM counted
GROUP BY partition_date, conversation_id, recording_id
