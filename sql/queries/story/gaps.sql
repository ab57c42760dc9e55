-- The gaps that are wanted, the next deadline first within a reason. A parameter that is NULL wants any.
-- `evidence` has what `proofs` has, in JSON.
SELECT COLUMNS(lambda name: name <> 'proofs')
FROM custody.gaps
WHERE ($first::DATE IS NULL OR partition_date >= $first)
    AND ($last::DATE IS NULL OR partition_date <= $last)
    AND ($reason::VARCHAR IS NULL OR reason = $reason)
    AND ($severity::VARCHAR IS NULL OR severity = $severity)
    AND ($recoverable::VARCHAR IS NULL OR recoverable = $recoverable)
    AND ($tag::VARCHAR IS NULL OR list_contains([lower(key) FOR key IN tag_keys], lower($tag)))
    AND ($before::TIMESTAMP IS NULL OR coalesce(recoverable_until, recheck_until) <= $before)
ORDER BY list_position(['error', 'warning', 'info'], severity), reason,
    coalesce(recoverable_until, recheck_until) NULLS LAST, partition_date, conversation_id, recording_id
