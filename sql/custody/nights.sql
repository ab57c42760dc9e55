-- State of each night. A night is open while the vendor's data may still grow, provisional while a gap may still close,
-- a source that failed or was cut short may still answer, one of its conversations goes on (for thirty days), or the lag has
-- not passed, and final otherwise. Published below live/, one file over all nights, and not sealed: what was sealed of it is
-- in each night's cut.json.
--
-- grain: partition_date
-- column partition_date DATE: UTC day of the conversation's start
-- column state VARCHAR: open, provisional or final; failed (its last run ended before it was published) or missing (never collected)
-- column watermark TIMESTAMP: time until which the vendor's conversation data are complete (UTC); null without the API
-- column collected_at TIMESTAMP: when the night was last collected (UTC)
-- column recordings BIGINT: recordings that any source names
-- column complete BIGINT: recordings without a gap of severity error or warning
-- column gaps BIGINT: recordings with such a gap
-- column excluded BIGINT: recordings left out as sensitive, or erased
-- column recoverable BIGINT: recordings with a gap that may still close
-- column unexplained BIGINT: sum of unexplained over the sources of custody.reconciliation, which overlap
-- column completeness VARCHAR: established (every needed source was asked, answered whole, and agrees), incomplete (something is unexplained) or not_established (a source was not asked, failed, or was cut short)
-- column coverage VARCHAR: JSON object: each source with its state, from custody.coverage
WITH loads AS (
    SELECT partition_date, max(finished_at) FILTER (is_newest) AS collected_at,
        max(data_available_until) FILTER (resource = 'conversation_details' AND is_current) AS watermark,
        bool_or(resource = 'conversation_details' AND is_newest AND receipt_state = 'not_configured') AS not_configured
    FROM staging.receipts
    GROUP BY partition_date
),

statuses AS (
    SELECT partition_date, count(*) AS recordings, count(*) FILTER (custody_status = 'complete') AS complete,
        count(*) FILTER (custody_status = 'gap') AS gaps, count(*) FILTER (custody_status = 'excluded') AS excluded,
        count(*) FILTER ((object_uri IS NULL OR custom_data_state <> 'present') AND len(gap_reasons) = 0) AS without_reason,
        -- Tags may be set, and recordings made, until the end. A sidecar alone does not tell the end.
        bool_or(conversation_end IS NULL AND conversation_sha256 IS NOT NULL) AS goes_on
    FROM custody.chain_of_custody
    GROUP BY partition_date
),

closable AS (
    SELECT g.partition_date, g.conversation_id, g.recording_id, g.reason, starts_with(g.recording_id, 'source:') AS is_source
    FROM custody.gaps AS g
    INNER JOIN loads AS l ON l.partition_date = g.partition_date AND g.recheck_until > l.collected_at
),

recoverable AS (
    SELECT partition_date, count(*) AS recordings
    FROM (
        SELECT partition_date, conversation_id, recording_id FROM closable
        WHERE NOT is_source
        UNION
        -- A source that failed as a whole: each of its recordings.
        SELECT c.partition_date, c.conversation_id, c.recording_id
        FROM custody.chain_of_custody AS c
        INNER JOIN closable AS g ON g.partition_date = c.partition_date AND list_contains(c.gap_reasons, g.reason)
        WHERE g.is_source
    )
    GROUP BY partition_date
),

balance AS (
    SELECT partition_date, sum(unexplained)::BIGINT AS unexplained
    FROM custody.reconciliation
    GROUP BY partition_date
),

coverage AS (
    SELECT
        partition_date,
        bool_and(state = 'whole' OR (state = 'not_asked' AND NOT is_needed)) AS is_whole,
        bool_or(state IN ('failed', 'partial')) AS is_cut_short,
        to_json(map_from_entries(list(
            (source, {'state': state, 'complete_until': complete_until, 'detail': detail}) ORDER BY source
        )))::VARCHAR AS coverage
    FROM custody.coverage
    GROUP BY partition_date
)

SELECT
    n.partition_date,
    CASE
        WHEN l.collected_at IS NULL THEN 'open'
        WHEN NOT l.not_configured AND coalesce(l.watermark < n.partition_date + INTERVAL 1 DAY, true) THEN 'open'
        WHEN coalesce(r.recordings, 0) > 0 THEN 'provisional'
        WHEN (c.is_cut_short OR s.goes_on) AND l.collected_at < n.partition_date + to_days($recheck_days::INTEGER)
            THEN 'provisional'
        WHEN l.collected_at < n.partition_date + INTERVAL 1 DAY + to_hours($lag_hours::BIGINT) THEN 'provisional'
        ELSE 'final'
    END AS state,
    l.watermark,
    l.collected_at,
    coalesce(s.recordings, 0) AS recordings,
    coalesce(s.complete, 0) AS complete,
    coalesce(s.gaps, 0) AS gaps,
    coalesce(s.excluded, 0) AS excluded,
    coalesce(r.recordings, 0) AS recoverable,
    coalesce(b.unexplained, 0) AS unexplained,
    CASE
        WHEN coalesce(b.unexplained, 0) > 0 OR coalesce(s.without_reason, 0) > 0 THEN 'incomplete'
        WHEN c.is_whole THEN 'established'
        ELSE 'not_established'
    END AS completeness,
    c.coverage
FROM window_nights() AS n
LEFT JOIN loads AS l USING (partition_date)
LEFT JOIN statuses AS s USING (partition_date)
LEFT JOIN recoverable AS r USING (partition_date)
LEFT JOIN balance AS b USING (partition_date)
LEFT JOIN coverage AS c USING (partition_date)
ORDER BY n.partition_date
