-- Published nights, the one first whose last fixity check is the longest ago.
SELECT p.partition_date
FROM raw.publications AS p
LEFT JOIN raw.acts AS a ON a.partition_date = p.partition_date AND a.action = 'verified' AND a.why = 'fixity'
GROUP BY p.partition_date
ORDER BY max(a.occurred_at) NULLS FIRST, p.partition_date
