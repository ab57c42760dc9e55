-- Nights with a recording that was found changed or gone, and that did not run again since.
WITH run_again AS (
    SELECT partition_date, max(published_at) AS at FROM raw.publications
GROUP BY partition_date
    UNION ALL
    SELECT partition_date, max(occurred_at) FROM raw.acts
WHERE action = 'rechecked'
GROUP BY partition_date
)

SELECT f.partition_date, count(*)
FROM raw.fixity_checks AS f
ANTI JOIN run_again AS r ON r.partition_date = f.partition_date AND r.at > f.checked_at
WHERE f.result IN ('changed', 'gone')
GROUP BY f.partition_date
