-- Gaps of the recordings in table `asked`, by reason, the most frequent first. Sources that could not be read at all count
-- as well. `recoverable` counts those that may still close, and `until` is the last deadline after `$now`.
SELECT reason, severity, sentence, next_action, count(*) AS recordings,
    count(*) FILTER (
        severity <> 'info' AND recoverable <> 'no' AND coalesce(recoverable_until > $now, true)
    ) AS recoverable,
    max(recoverable_until) FILTER (recoverable_until > $now) AS until
FROM custody.gaps AS g
SEMI JOIN (
    SELECT c, r, n FROM asked
    UNION
    SELECT DISTINCT '', unnest(['source:media_digests', 'source:export_sidecars']), n FROM asked
) AS k
    ON k.c = g.conversation_id AND k.r = g.recording_id AND k.n = g.partition_date
GROUP BY ALL
ORDER BY recordings DESC, reason
