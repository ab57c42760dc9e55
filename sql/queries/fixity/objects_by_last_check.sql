-- Media objects with a known digest, the one first whose last check is the longest ago. `bytes_before` sums the
-- bytes of the objects before it. An object that could not be read is last in the next round, or a few of them would use
-- up the bytes of each run. Objects that are gone are left out until a night reads them again.
WITH digests_at_export AS (
    -- Later loads repeat a digest with the time it was taken.
    SELECT bucket, object_key, coalesce(version_id, '') AS version, max_by(partition_date, hashed_at) AS night,
        max_by(sha256, hashed_at) AS sha256, max_by(object_bytes, hashed_at) AS object_bytes,
        max(hashed_at) AS hashed_at
    FROM raw.media_digests
    WHERE sha256 IS NOT NULL
    GROUP BY ALL
),

checked AS (
    SELECT bucket, object_key, coalesce(version_id, '') AS version,
        max(checked_at) FILTER (result <> 'unreadable') AS checked_at, max(checked_at) AS tried_at,
        max_by(result, checked_at) AS result
    FROM raw.fixity_checks
    GROUP BY ALL
),

waiting AS (
    SELECT k.night, k.bucket, k.object_key, nullif(k.version, '') AS version_id,
        coalesce(k.object_bytes, 0) AS object_bytes, k.sha256, greatest(k.hashed_at, c.checked_at) AS last_checked,
        greatest(k.hashed_at, c.tried_at) AS last_tried
    FROM digests_at_export AS k
    LEFT JOIN checked AS c ON c.bucket = k.bucket AND c.object_key = k.object_key AND c.version = k.version
    WHERE c.result IS DISTINCT FROM 'gone' OR k.hashed_at > c.tried_at
)

SELECT * EXCLUDE (last_tried),
    sum(object_bytes) OVER (ORDER BY last_tried, bucket, object_key, version_id) - object_bytes AS bytes_before
FROM waiting
