-- The gaps `asked_gaps`, by reason, the most frequent first. `recoverable` counts those that may still close, and `until` is the
-- last deadline after `$now`. A gap that only tells something counts if it is why a recording has no audio: `$of_audio` has
-- these reasons.
SELECT reason, severity, sentence, next_action, count(*) AS recordings,
    count(*) FILTER (
        (severity <> 'info' OR (NOT has_audio AND list_contains($of_audio, reason)))
        AND recoverable <> 'no' AND coalesce(recoverable_until > $now, true)
    ) AS recoverable,
    max(recoverable_until) FILTER (recoverable_until > $now) AS until
FROM asked_gaps
GROUP BY reason, severity, sentence, next_action
ORDER BY recordings DESC, reason
