-- Gaps of the recordings in table `asked`, by reason, the most frequent first. A source that could not be read at all has one
-- row in custody.gaps: here each of its recordings counts. `recoverable` counts those that may still close, and `until` is the
-- last deadline after `$now`. A gap that only tells something counts if it is why a recording has no audio: `$of_audio` has
-- these reasons.
SELECT reason, severity, sentence, next_action, count(*) AS recordings,
    count(*) FILTER (
        (severity <> 'info' OR (NOT has_audio AND list_contains($of_audio, reason)))
        AND recoverable <> 'no' AND coalesce(recoverable_until > $now, true)
    ) AS recoverable,
    max(recoverable_until) FILTER (recoverable_until > $now) AS until
FROM (
    SELECT g.*, k.has_audio
    FROM custody.gaps AS g
    INNER JOIN asked AS k ON k.c = g.conversation_id AND k.r = g.recording_id AND k.n = g.partition_date
    UNION ALL
    SELECT g.*, k.has_audio
    FROM custody.gaps AS g
    INNER JOIN asked AS k ON k.n = g.partition_date
    INNER JOIN custody.chain_of_custody AS c
        ON c.partition_date = k.n AND c.conversation_id = k.c AND c.recording_id = k.r AND list_contains(c.gap_reasons, g.reason)
    ANTI JOIN custody.gaps AS own
        ON own.partition_date = k.n AND own.conversation_id = k.c AND own.recording_id = k.r AND own.reason = g.reason
    WHERE starts_with(g.recording_id, 'source:')
)
GROUP BY reason, severity, sentence, next_action
ORDER BY recordings DESC, reason
