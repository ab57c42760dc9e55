-- Sources that the nights from `$first` to `$last` need and that are not whole.
SELECT source, state, any_value(sees) AS sees, count(*) AS nights, coalesce(max(detail), '') AS detail
FROM custody.coverage
WHERE is_needed AND state <> 'whole' AND partition_date BETWEEN $first AND $last
GROUP BY source, state
ORDER BY source, state
