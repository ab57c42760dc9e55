-- Exported media of each recording: the chosen object, and the number of its keys, versions and contents.
--
-- The chosen object is live (the newest version of its key, and not deleted), not empty, and the latest written. The
-- key decides between equals.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation in the key
-- column recording_id: recording in the key
-- column organization_id: organisation in the key
-- column is_live: true if the bucket has an object of the recording now
-- column object_uri: chosen object
-- column version_id: version of the chosen object
-- column object_bytes: size of the chosen object in bytes
-- column last_modified: when the chosen object was written (UTC)
-- column bucket_region: region of the bucket
-- column hour_start: hour in the key (UTC)
-- column live_keys: live, non-empty keys of the recording
-- column live_organizations: organisations in whose folders the live keys lie
-- column key_versions: versions with bytes of all keys of the recording
-- column distinct_contents: different contents of all versions, also of deleted keys, by digest if all have one, else by ETag and size
-- column media_sha256: SHA-256 of the chosen object
-- column media_md5: MD5 of the chosen object
-- column media_hashed_at: when that digest was first taken (UTC)
-- column digest_error: reason why there is no digest
-- column earlier_sha256: all digests, including digests of deleted keys, of keys that are gone, and from earlier loads
-- column all_uris: every version, as evidence
WITH digests AS (
    -- Digests from all loads, with the time of the first. A version never changes. Without versions, a key may hold other
    -- bytes than those that were hashed: the digest belongs to the object as it was listed then.
    SELECT partition_date, bucket, object_key, coalesce(version_id, '') AS version_id, sha256, any_value(md5) AS md5,
        min(hashed_at) AS hashed_at, bool_or(is_current) AS is_current,
        CASE WHEN coalesce(version_id, '') IN ('', 'null')
            THEN arg_max(concat_ws('/', etag, last_modified, object_bytes), last_modified)
            ELSE ''
        END AS listing
    FROM staging.media_digests
    WHERE sha256 IS NOT NULL
    GROUP BY partition_date, bucket, object_key, coalesce(version_id, ''), sha256
),

several_digests AS (
    SELECT partition_date, bucket, object_key
    FROM digests
    GROUP BY partition_date, bucket, object_key
    HAVING count(*) > 1
),

only_digests AS (
    SELECT * FROM digests ANTI JOIN several_digests USING (partition_date, bucket, object_key)
),

digest_of_version AS (
    SELECT * FROM only_digests
    UNION ALL
    SELECT *
    FROM digests
    SEMI JOIN several_digests USING (partition_date, bucket, object_key)
    QUALIFY row_number() OVER (
        PARTITION BY partition_date, bucket, object_key, version_id ORDER BY is_current DESC, hashed_at DESC, sha256
    ) = 1
),

digests_of_key AS (
    SELECT partition_date, bucket, object_key, [sha256] AS sha256s FROM only_digests
    UNION ALL
    SELECT partition_date, bucket, object_key, list_sort(list_distinct(list(sha256)))
    FROM digests
    SEMI JOIN several_digests USING (partition_date, bucket, object_key)
    GROUP BY partition_date, bucket, object_key
),

listed AS (
    SELECT partition_date, bucket, object_key
    FROM staging.export_objects
    WHERE is_current
),

gone_digests AS (
    -- Of keys that an earlier listing had and the newest has not.
    SELECT o.partition_date, o.conversation_id, o.recording_id, list(d.sha256) AS sha256s
    FROM (
        SELECT DISTINCT partition_date, conversation_id, recording_id, bucket, object_key
        FROM staging.export_objects
        WHERE NOT is_current AND object_role = 'media' AND recording_id IS NOT NULL AND key_finding IS NULL
    ) AS o
    ANTI JOIN listed USING (partition_date, bucket, object_key)
    INNER JOIN digests AS d USING (partition_date, bucket, object_key)
    GROUP BY o.partition_date, o.conversation_id, o.recording_id
),

errors AS (
    SELECT partition_date, bucket, object_key, coalesce(version_id, '') AS version_id, min(error) AS error
    FROM staging.media_digests
    WHERE is_current AND sha256 IS NULL
    GROUP BY partition_date, bucket, object_key, coalesce(version_id, '')
),

versions AS (
    SELECT o.partition_date, o.conversation_id, o.recording_id, o.organization_id, o.bucket, o.object_key, o.version_id,
        o.object_bytes, o.is_delete_marker, o.last_modified, o.bucket_region, o.path_date, o.path_hour,
        d.sha256, d.md5, d.hashed_at, k.sha256s, e.error,
        o.is_latest AND NOT o.is_delete_marker AS is_live_version,
        coalesce(NOT o.is_delete_marker AND o.object_bytes > 0, false) AS has_bytes,
        o.etag || '/' || o.object_bytes::VARCHAR AS written,
        {
            'uri': 's3://' || o.bucket || '/' || o.object_key || coalesce('?versionId=' || o.version_id, ''),
            'sha256': d.sha256,
            'what': CASE WHEN o.is_delete_marker THEN 'delete marker' ELSE o.object_bytes::VARCHAR || ' bytes' END,
            'observed_at': o.last_modified
        } AS evidence
    FROM staging.export_objects AS o
    LEFT JOIN digest_of_version AS d
        ON d.partition_date = o.partition_date AND d.bucket = o.bucket AND d.object_key = o.object_key
        AND d.version_id = coalesce(o.version_id, '')
        AND d.listing = CASE WHEN coalesce(o.version_id, '') IN ('', 'null')
            THEN concat_ws('/', o.etag, o.last_modified, o.object_bytes)
            ELSE ''
        END
    LEFT JOIN digests_of_key AS k
        ON k.partition_date = o.partition_date AND k.bucket = o.bucket AND k.object_key = o.object_key
    LEFT JOIN errors AS e
        ON e.partition_date = o.partition_date AND e.bucket = o.bucket AND e.object_key = o.object_key
        AND e.version_id = coalesce(o.version_id, '')
    WHERE o.is_current AND o.object_role = 'media' AND o.recording_id IS NOT NULL AND o.key_finding IS NULL
),

recordings_with_several_versions AS (
    SELECT partition_date, conversation_id, recording_id
    FROM versions
    GROUP BY partition_date, conversation_id, recording_id
    HAVING count(*) > 1
),

compared AS (
    -- Nearly every recording has one version of one key. Only recordings with several are sorted and counted.
    SELECT *,
        row_number() OVER (
            PARTITION BY partition_date, conversation_id, recording_id
            ORDER BY is_live_version DESC, NOT is_delete_marker DESC, object_bytes > 0 DESC, last_modified DESC,
                object_key, version_id
        ) AS choice
    FROM versions
    SEMI JOIN recordings_with_several_versions USING (partition_date, conversation_id, recording_id)
),

counted AS (
    SELECT
        partition_date,
        conversation_id,
        recording_id,
        count(DISTINCT object_key) FILTER (is_live_version AND object_bytes > 0) AS live_keys,
        count(DISTINCT organization_id) FILTER (is_live_version) AS live_organizations,
        count(*) FILTER (has_bytes) AS key_versions,
        -- A digest and an ETag say nothing of each other.
        CASE
            WHEN bool_and(sha256 IS NOT NULL) FILTER (has_bytes)
                THEN count(DISTINCT sha256) FILTER (has_bytes)
            ELSE count(DISTINCT written) FILTER (has_bytes)
        END AS distinct_contents,
        list_sort(list_distinct(flatten(list(sha256s) FILTER (sha256s IS NOT NULL)))) AS earlier_sha256,
        list(evidence ORDER BY last_modified, object_key, version_id) AS all_uris
    FROM compared
    GROUP BY partition_date, conversation_id, recording_id
),

chosen AS (
    SELECT * FROM versions ANTI JOIN recordings_with_several_versions USING (partition_date, conversation_id, recording_id)
    UNION ALL
    SELECT * EXCLUDE (choice)
    FROM compared
    WHERE choice = 1
)

SELECT
    v.partition_date,
    v.conversation_id,
    v.recording_id,
    v.organization_id,
    v.is_live_version AS is_live,
    CASE WHEN v.is_live_version THEN 's3://' || v.bucket || '/' || v.object_key END AS object_uri,
    CASE WHEN v.is_live_version THEN v.version_id END AS version_id,
    CASE WHEN v.is_live_version THEN v.object_bytes END AS object_bytes,
    CASE WHEN v.is_live_version THEN v.last_modified END AS last_modified,
    v.bucket_region,
    v.path_date + to_hours(v.path_hour::BIGINT) AS hour_start,
    coalesce(c.live_keys, (v.is_live_version AND v.has_bytes)::BIGINT) AS live_keys,
    coalesce(c.live_organizations, 1) AS live_organizations,
    coalesce(c.key_versions, v.has_bytes::BIGINT) AS key_versions,
    coalesce(c.distinct_contents, (v.is_live_version AND v.has_bytes AND coalesce(v.sha256, v.written) IS NOT NULL)::BIGINT)
        AS distinct_contents,
    CASE WHEN v.is_live_version THEN v.sha256 END AS media_sha256,
    CASE WHEN v.is_live_version THEN v.md5 END AS media_md5,
    CASE WHEN v.is_live_version THEN v.hashed_at END AS media_hashed_at,
    CASE WHEN v.is_live_version THEN v.error END AS digest_error,
    list_sort(list_distinct(
        coalesce(CASE WHEN c.recording_id IS NOT NULL THEN c.earlier_sha256 WHEN v.is_live_version THEN v.sha256s END, [])
        || coalesce(g.sha256s, [])
    )) AS earlier_sha256,
    coalesce(c.all_uris, [v.evidence]) AS all_uris
FROM chosen AS v
LEFT JOIN counted AS c USING (partition_date, conversation_id, recording_id)
LEFT JOIN gone_digests AS g USING (partition_date, conversation_id, recording_id)
