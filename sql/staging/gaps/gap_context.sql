-- Faults of a recording's script, region or times: REGION_MISMATCH, SCRIPT_VERSION_INCOMPATIBLE,
-- SCRIPT_VERSION_UNKNOWN, TIMESTAMP_SUSPECT.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, reason
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column reason: code of the reason
-- column severity: where it differs from the catalogue's
-- column detail: the particulars, without tag values
-- column evidence: documents and objects that prove it
WITH regions AS (
    -- The most frequent region is the reference if neither the gateway nor the bucket names a region.
    SELECT partition_date, region AS common_region
    FROM staging.recordings
    WHERE region IS NOT NULL
    GROUP BY partition_date, region
    QUALIFY row_number() OVER (PARTITION BY partition_date ORDER BY count(*) DESC, region) = 1
),

recordings AS (
    SELECT r.*, x.script_id, x.script_version, c.metadata_evidence, c.details_evidence, g.common_region,
        $api_region::VARCHAR AS api_region,
        coalesce(r.region <> coalesce($api_region::VARCHAR, r.bucket_region, g.common_region), false) AS is_elsewhere,
        coalesce(r.has_object AND r.bucket_region <> $api_region::VARCHAR, false) AS is_exported_elsewhere,
        CASE
            WHEN r.duration_written IS NOT NULL AND (r.duration_ms IS NULL OR starts_with(r.duration_written, '"'))
                THEN 'its duration is no number of milliseconds'
            WHEN r.duration_ms < 0 THEN 'its duration is negative'
            -- Either time may lack the fraction of its second.
            WHEN r.recording_end >= r.recording_start
                AND abs(r.duration_ms::HUGEINT - date_diff('millisecond', r.recording_start, r.recording_end)) > 2000
                THEN 'its duration is not the time from start to end'
        END AS duration_finding
    FROM staging.recordings AS r
    LEFT JOIN regions AS g USING (partition_date)
    INNER JOIN staging.conversation_facts AS c USING (partition_date, conversation_id)
    LEFT JOIN staging.recording_scripts AS x USING (partition_date, conversation_id, recording_id)
),

accepted AS (
    SELECT partition_date, script_id, list(version_id ORDER BY version_id) AS versions
    FROM staging.accepted_scripts
    GROUP BY partition_date, script_id
),

findings AS (
    SELECT *, 'REGION_MISMATCH' AS reason,
        concat_ws(
            '; ',
            'recording: ' || region || coalesce(' (edge ' || edge_id || ')', ''),
            'organisation: ' || api_region,
            'bucket: ' || bucket_region,
            CASE WHEN api_region IS NULL AND bucket_region IS NULL THEN 'most recordings of the night: ' || common_region END
        ) AS detail,
        list_append(object_evidence, metadata_evidence) AS evidence
    FROM recordings
    WHERE is_elsewhere OR is_exported_elsewhere
    UNION ALL
    SELECT *, 'SCRIPT_VERSION_UNKNOWN',
        'script ' || script_id || ': no version published before ' || conversation_start::VARCHAR || ' UTC was seen',
        [details_evidence]
    FROM recordings
    WHERE script_id IS NOT NULL AND script_version IS NULL AND conversation_start IS NOT NULL
    UNION ALL
    SELECT r.*, 'SCRIPT_VERSION_INCOMPATIBLE',
        'script ' || r.script_id || ' version ' || r.script_version || ' (inferred); accepted: '
            || array_to_string(a.versions, ', '),
        [r.details_evidence]
    FROM recordings AS r
    INNER JOIN accepted AS a USING (partition_date, script_id)
    WHERE r.script_version IS NOT NULL AND NOT list_contains(a.versions, r.script_version)
    UNION ALL
    SELECT *, 'TIMESTAMP_SUSPECT',
        concat_ws(
            '; ',
            CASE WHEN recording_end < recording_start THEN 'ends before it begins' END,
            CASE WHEN NOT has_zone THEN 'says no zone' END,
            CASE
                WHEN (times_as_written.start IS NOT NULL AND recording_start IS NULL)
                    OR (times_as_written.end IS NOT NULL AND recording_end IS NULL) THEN 'cannot be read'
            END,
            CASE
                WHEN recording_start < hour_start - INTERVAL 1 MINUTE THEN 'begins before the hour of its export path'
                WHEN recording_start < conversation_start - INTERVAL 1 MINUTE
                    THEN 'begins before its conversation, ' || conversation_start::VARCHAR || ' UTC'
                WHEN recording_start > coalesce(conversation_end, hour_start + INTERVAL 1 DAY) + INTERVAL 1 MINUTE
                    THEN 'begins after its conversation'
            END,
            CASE
                WHEN recording_start > coalesce(object_last_modified, metadata_seen_at) + INTERVAL 5 MINUTE
                    THEN 'begins after it was written'
            END,
            duration_finding
        ) || ': start ' || coalesce(times_as_written.start, 'none') || ', end ' || coalesce(times_as_written.end, 'none')
            || coalesce(', path hour ' || hour_start::VARCHAR, '')
            || CASE WHEN duration_finding IS NOT NULL
                THEN ', duration ' || coalesce(left(duration_written, 80), duration_ms::VARCHAR) ELSE '' END,
        list_filter(
            [sidecar_evidence, CASE WHEN sidecar_evidence IS NULL THEN metadata_evidence END], lambda x: x IS NOT NULL
        )
    FROM recordings
    WHERE recording_end < recording_start
        OR NOT has_zone
        OR (times_as_written.start IS NOT NULL AND recording_start IS NULL)
        OR (times_as_written.end IS NOT NULL AND recording_end IS NULL)
        OR recording_start < greatest(hour_start, conversation_start) - INTERVAL 1 MINUTE
        OR recording_start > coalesce(conversation_end, hour_start + INTERVAL 1 DAY) + INTERVAL 1 MINUTE
        OR recording_start > coalesce(object_last_modified, metadata_seen_at) + INTERVAL 5 MINUTE
        OR duration_finding IS NOT NULL
)

SELECT
    partition_date,
    conversation_id,
    recording_id,
    reason,
    -- If only the bucket is in another region, the recording is in the right one: severity info, and no gap.
    CASE WHEN reason = 'REGION_MISMATCH' AND NOT is_elsewhere THEN 'info' END AS severity,
    detail,
    list_filter(evidence, lambda x: x IS NOT NULL) AS evidence
FROM findings
