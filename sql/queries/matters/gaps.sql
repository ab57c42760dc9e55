-- Gaps of the recordings in table `asked`, by reason, the most frequent first. Sources that could not be read at all count
-- as well. `recoverable` counts those that may still close, and `until` is the last deadline after `$now`. A gap that only
-- tells something counts if it is why a recording has no audio: `$of_audio` has these reasons.
SELECT reason, severity, sentence, next_action, count(*) AS recordings,
    count(*) FILTER (
        (severity <> 'info' OR (NOT has_audio AND list_contains($of_audio, reason)))
        AND recoverable <> 'no' AND coalesce(recoverable_until > $now, true)
    ) AS recoverable,
    max(recoverable_until) FILTER (recoverable_until > $now) AS until
FROM custody.gaps AS g
INNER JOIN (
    SELECT c, r, n, has_audio FROM asked
    UNION
    SELECT DISTINCT '', unnest(['source:media_digests', 'source:export_sidecars']), n, true FROM asked
) AS k
    ON k.c = g.conversation_id AND k.r = g.recording_id AND k.n = g.partition_date
GROUP BY ALL
ORDER BY recordings DESC, reason
