-- Gaps of a night that are alerted: those with one of `$reasons`, also if they are for information; those that nothing can
-- close, and those whose deadline is not after `$near`.
SELECT conversation_id, recording_id, reason, severity, sentence, next_action, recoverable, recoverable_until
FROM custody.gaps
WHERE partition_date = $night
    AND (
        list_contains($reasons, reason)
        OR (
            severity IN ('error', 'warning')
            AND (recoverable = 'no' OR (recoverable = 'until' AND recoverable_until <= $near))
        )
    )
ORDER BY severity, reason, conversation_id, recording_id
