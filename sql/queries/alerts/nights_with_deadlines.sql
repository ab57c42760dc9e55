-- Nights with a gap whose deadline is between `$since` and `$near`: near, or passed since such a warning.
SELECT DISTINCT partition_date
FROM custody.gaps
WHERE severity IN ('error', 'warning') AND recoverable = 'until' AND recoverable_until BETWEEN $since AND $near
ORDER BY partition_date
