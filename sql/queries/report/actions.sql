-- What is to be done about `report_gaps`. The order is by deadline, then by whether anything can still be recovered.
-- A gap without a deadline has the time until which it is rechecked. `late` counts deadlines before `$now`.
WITH with_deadline AS (
    SELECT *, CASE
        WHEN recoverable_until > $now THEN recoverable_until
        WHEN recoverable_until IS NULL AND recheck_until > $now THEN recheck_until
    END AS deadline
    FROM report_gaps
    WHERE severity <> 'info'
)

SELECT reason, file, next_action, count(*) AS recordings, min(deadline) AS first, max(deadline) AS last,
    count(*) FILTER (recoverable_until <= $now) AS late,
    bool_or(recoverable <> 'no' AND coalesce(recoverable_until > $now, true)) AS can_be_had
FROM with_deadline
GROUP BY reason, file, next_action
ORDER BY first NULLS LAST, can_be_had DESC, recordings DESC, file
