-- Expected, present and explained counts per night and source. A night with something unexplained is `incomplete`.
--
-- Source `recordings` counts every recording that any source names, and each that was erased here. The other sources
-- count only what they name themselves, so the counts overlap. Source `details_sessions` counts recorded sessions and
-- participants whose screen was recorded, per conversation and kind (audio, screen). Captures are counted per
-- conversation. A captured conversation is present if it has a recording, and explained by custody.gaps or by a document
-- of the analytics job without a recorded session. Source `tags` counts recordings whose tags a source could give. Source
-- `bucket_keys` counts every version and delete marker in the bucket. Source `job_totals` compares the totals of export
-- jobs of this night alone with the recordings that are known, those of conversations begun in a night before included.
-- Without the night before, a difference proves nothing: `detail` has it as `night_before_unknown`, and the night is not
-- established.
--
-- grain: partition_date, source
-- column partition_date DATE: UTC day of the conversation's start
-- column source VARCHAR: recordings, failed_recordings, bucket_objects, sidecars, recording_metadata, details_sessions, manifests, orphan_recordings, listed_recordings, export_jobs, job_totals, captures, tags or bucket_keys
-- column expected BIGINT: count that the source names
-- column present BIGINT: of these, present with content
-- column explained BIGINT: of these, absent with a reason in custody.gaps
-- column unexplained BIGINT: expected minus present minus explained
-- column detail VARCHAR: JSON object: reasons with their counts, or the totals of the jobs
WITH reasons AS (
    -- One reason per recording that explains the missing media.
    SELECT gap.partition_date, gap.conversation_id, gap.recording_id, min(gap.reason) AS reason
    FROM custody.gaps AS gap
    INNER JOIN staging.reasons AS catalogue USING (reason)
    WHERE list_contains(catalogue.explains, 'media')
    GROUP BY gap.partition_date, gap.conversation_id, gap.recording_id
),

recordings AS (
    SELECT r.*, k.kind, r.has_content AS is_present, NOT r.has_content AND g.reason IS NOT NULL AS is_explained,
        CASE WHEN NOT r.has_content THEN g.reason END AS reason
    FROM staging.recordings AS r
    INNER JOIN staging.recording_keys AS k USING (partition_date, conversation_id, recording_id)
    LEFT JOIN reasons AS g USING (partition_date, conversation_id, recording_id)
),

claims AS (
    SELECT partition_date, unnest(list_filter(
        [
            'recordings',
            CASE WHEN in_failures THEN 'failed_recordings' END,
            CASE WHEN in_objects THEN 'bucket_objects' END,
            CASE WHEN sidecar_uri IS NOT NULL THEN 'sidecars' END,
            CASE WHEN in_metadata THEN 'recording_metadata' END,
            CASE WHEN in_manifests THEN 'manifests' END,
            CASE WHEN in_orphans THEN 'orphan_recordings' END,
            CASE WHEN in_listed THEN 'listed_recordings' END,
            CASE WHEN covering_jobs > 0 THEN 'export_jobs' END
        ],
        lambda x: x IS NOT NULL
    )) AS source, is_present, is_explained, reason
    FROM recordings
    UNION ALL
    -- No source names an erased recording any more.
    SELECT partition_date, 'recordings', false, true, 'ERASED'
    FROM raw.erasures
    ANTI JOIN recordings USING (partition_date, conversation_id, recording_id)
),

claimed AS (
    SELECT partition_date, source, count(*) AS expected, count(*) FILTER (is_present) AS present,
        count(*) FILTER (is_explained) AS explained
    FROM claims
    GROUP BY partition_date, source
),

claimed_reasons AS (
    SELECT partition_date, source, map_from_entries(list((reason, recordings) ORDER BY reason)) AS reasons
    FROM (
        SELECT partition_date, source, reason, count(*) AS recordings
        FROM claims
        WHERE is_explained
        GROUP BY partition_date, source, reason
    )
    GROUP BY partition_date, source
),

jobs AS (
    SELECT partition_date, to_json(list(
        {
            'job_id': job_id, 'state': job_state, 'total_recordings': total_recordings, 'total_skipped': total_skipped,
            'total_failed': total_failed, 'total_processed': total_processed
        }
        ORDER BY job_id
    ))::VARCHAR AS totals
    FROM staging.export_jobs
    WHERE is_current
    GROUP BY partition_date
),

by_conversation AS (
    SELECT s.partition_date, s.sessions, coalesce(r.present, 0) AS present, coalesce(r.explained, 0) AS explained
    FROM (
        SELECT partition_date, conversation_id, kind, count(*) AS sessions
        FROM (
            SELECT partition_date, conversation_id, kind
            FROM staging.sessions
            WHERE is_recorded
            UNION ALL
            SELECT partition_date, conversation_id, 'screen'
            FROM staging.sessions
            WHERE screen_session_id = session_id
        )
        GROUP BY ALL
    ) AS s
    LEFT JOIN (
        SELECT partition_date, conversation_id, kind, count(*) FILTER (is_present) AS present,
            count(*) FILTER (is_explained) AS explained
        FROM recordings
        GROUP BY partition_date, conversation_id, kind
    ) AS r ON r.partition_date = s.partition_date AND r.conversation_id = s.conversation_id AND r.kind = s.kind
),

sessions AS (
    SELECT partition_date, 'details_sessions' AS source, sum(sessions)::BIGINT AS expected,
        sum(least(sessions, present))::BIGINT AS present,
        sum(least(sessions - least(sessions, present), explained))::BIGINT AS explained
    FROM by_conversation
    GROUP BY partition_date
),

job_totals AS (
    -- Only a job of this night alone says how many recordings this night has.
    SELECT partition_date, 'job_totals' AS source, sum(total)::BIGINT AS expected,
        sum(least(total, known))::BIGINT AS present,
        sum(CASE WHEN night_before THEN least(difference, skipped) ELSE difference END)::BIGINT AS explained,
        to_json({
            'skipped': sum(least(difference, skipped)),
            'night_before_unknown': coalesce(sum(greatest(difference - skipped, 0)) FILTER (NOT night_before), 0)
        })::VARCHAR AS detail
    FROM (
        SELECT *, greatest(total - known, 0) AS difference
        FROM (
            SELECT job.partition_date, job.total_recordings AS total, coalesce(job.total_skipped, 0) AS skipped,
                (
                    SELECT count(*) FROM recordings AS r
                    WHERE r.partition_date = job.partition_date AND NOT r.in_captures
                        AND (r.starts_about IS NULL OR r.starts_about < job.interval_end)
                        AND coalesce(r.conversation_end >= job.interval_start, true)
                ) + (
                    SELECT count(*)
                    FROM (SELECT partition_date, unnest(ends) AS conversation_end FROM staging.carried_over) AS earlier
                    WHERE earlier.partition_date < job.partition_date AND earlier.conversation_end >= job.interval_start
                ) + (
                    SELECT count(*) FROM raw.erasures AS e
                    WHERE e.partition_date = job.partition_date
                        AND NOT regexp_matches(e.recording_id, '^(session|screen|capture):')
                ) AS known,
                job.partition_date - INTERVAL 1 DAY IN (SELECT partition_date FROM staging.carried_over) AS night_before
            FROM staging.export_jobs AS job
            WHERE job.is_current AND job.job_state = 'FULFILLED' AND job.action = 'EXPORT' AND job.total_recordings > 0
                AND job.interval_start >= job.partition_date
                AND job.interval_end <= job.partition_date + INTERVAL 1 DAY
        )
    )
    GROUP BY partition_date
),

captures AS (
    SELECT c.partition_date, 'captures' AS source, count(*) AS expected, count(*) FILTER (r.is_known) AS present,
        count(*) FILTER (r.is_explained OR (r.conversation_id IS NULL AND d.conversation_id IS NOT NULL)) AS explained,
        to_json({
            'CAPTURE_WITHOUT_RECORDING': count(*) FILTER (r.is_explained),
            'not_recorded': count(*) FILTER (r.conversation_id IS NULL AND d.conversation_id IS NOT NULL)
        })::VARCHAR AS detail
    FROM (
        SELECT DISTINCT partition_date, conversation_id
        FROM staging.captures
        WHERE conversation_id IS NOT NULL
    ) AS c
    LEFT JOIN (
        SELECT partition_date, conversation_id, bool_or(NOT in_captures) AS is_known,
            bool_and(in_captures AND is_explained) AS is_explained
        FROM recordings
        GROUP BY partition_date, conversation_id
    ) AS r ON r.partition_date = c.partition_date AND r.conversation_id = c.conversation_id
    LEFT JOIN (
        SELECT DISTINCT partition_date, conversation_id
        FROM staging.conversation_details
        WHERE is_current AND document_state = 'ok'
    ) AS d ON d.partition_date = c.partition_date AND d.conversation_id = c.conversation_id
    GROUP BY c.partition_date
),

tags AS (
    SELECT
        joined.partition_date,
        'tags' AS source,
        count(*) AS expected,
        count(*) FILTER (joined.custom_data_state <> 'unavailable') AS present,
        count(*) FILTER (
            joined.custom_data_state = 'unavailable' AND list_has_any(joined.gap_reasons, catalogue.reasons)
        ) AS explained
    FROM custody.chain_of_custody AS joined
    CROSS JOIN (
        SELECT list(reason) AS reasons
        FROM staging.reasons
        WHERE list_contains(explains, 'tags')
    ) AS catalogue
    GROUP BY joined.partition_date
),

bucket_keys AS (
    SELECT partition_date, 'bucket_keys' AS source, count(*) AS expected,
        count(*) FILTER (
            object_role IN ('media', 'sidecar') AND recording_id IS NOT NULL AND key_finding IS NULL AND NOT is_delete_marker
        ) AS present,
        count(*) FILTER (key_finding IS NOT NULL OR object_role = 'other' OR is_delete_marker) AS explained,
        to_json({
            'delete_markers': count(*) FILTER (is_delete_marker),
            'no_recordings': count(*) FILTER (object_role = 'other' AND key_finding IS NULL),
            'unsafe_key': count(*) FILTER (key_finding = 'unsafe_key'),
            'bad_conversation_id': count(*) FILTER (key_finding = 'bad_conversation_id'),
            'unrecognised': count(*) FILTER (key_finding = 'unrecognised')
        })::VARCHAR AS detail
    FROM staging.export_objects
    WHERE is_current
    GROUP BY partition_date
),

counted AS (
    SELECT c.partition_date, c.source, c.expected, c.present, c.explained,
        CASE
            WHEN c.source = 'export_jobs' THEN coalesce(j.totals, '[]')
            ELSE coalesce(to_json(r.reasons)::VARCHAR, '{}')
        END AS detail
    FROM claimed AS c
    LEFT JOIN claimed_reasons AS r USING (partition_date, source)
    LEFT JOIN jobs AS j USING (partition_date)
    UNION ALL
    SELECT partition_date, source, expected, present, explained, '{}' FROM sessions
    UNION ALL
    SELECT partition_date, source, expected, present, explained, detail FROM job_totals
    UNION ALL
    SELECT partition_date, source, expected, present, explained, detail FROM captures
    UNION ALL
    SELECT partition_date, source, expected, present, explained, '{}' FROM tags
    UNION ALL
    SELECT partition_date, source, expected, present, explained, detail FROM bucket_keys
)

SELECT
    n.partition_date,
    s.source,
    coalesce(c.expected, 0) AS expected,
    coalesce(c.present, 0) AS present,
    coalesce(c.explained, 0) AS explained,
    coalesce(c.expected - c.present - c.explained, 0) AS unexplained,
    coalesce(c.detail, '{}') AS detail
FROM window_nights() AS n
CROSS JOIN (
    SELECT unnest([
        'recordings', 'failed_recordings', 'bucket_objects', 'sidecars', 'recording_metadata', 'details_sessions', 'manifests',
        'orphan_recordings', 'listed_recordings', 'export_jobs', 'job_totals', 'captures', 'tags', 'bucket_keys'
    ]) AS source
) AS s
LEFT JOIN counted AS c ON c.partition_date = n.partition_date AND c.source = s.source
ORDER BY n.partition_date, s.source
