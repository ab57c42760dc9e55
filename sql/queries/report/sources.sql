-- Sources that are not whole in the nights from `$first` to `$last`, but for those that no night needs and that were not asked.
SELECT source, state, any_value(sees) AS sees, count(*) AS nights, coalesce(max(detail), '') AS detail
FROM custody.coverage
WHERE state <> 'whole' AND (is_needed OR state <> 'not_asked') AND partition_date BETWEEN $first AND $last
GROUP BY source, state
ORDER BY source, state
