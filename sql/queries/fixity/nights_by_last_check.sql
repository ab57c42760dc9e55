-- Published nights, the one first whose last fixity check is the longest ago. A night of which every recording had changed
-- has checks and no act about the night alone.
WITH checks AS (
    SELECT partition_date, occurred_at AS moment
    FROM raw.acts
    WHERE action = 'verified' AND why = 'fixity'
    UNION ALL
    SELECT partition_date, checked_at AS moment
    FROM raw.fixity_checks
)

SELECT p.partition_date
FROM raw.publications AS p
LEFT JOIN checks AS c ON c.partition_date = p.partition_date
GROUP BY p.partition_date
ORDER BY max(c.moment) NULLS FIRST, p.partition_date
