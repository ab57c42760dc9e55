-- Sources that are not whole in `$nights`, but for those that no night needs and that were not asked.
-- If the nights differ, `detail` is that of the newest night that has one, with its date.
SELECT source, state, any_value(sees) AS sees, count(*) AS nights,
    CASE
        WHEN count(DISTINCT coalesce(detail, '')) > 1 THEN arg_max(partition_date || ': ' || detail, partition_date)
        ELSE coalesce(max(detail), '')
    END AS detail
FROM custody.coverage
WHERE state <> 'whole' AND (is_needed OR state <> 'not_asked') AND list_contains($nights::DATE[], partition_date)
GROUP BY source, state
ORDER BY source, state
