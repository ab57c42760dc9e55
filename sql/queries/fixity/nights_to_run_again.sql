-- Nights with a recording that was found changed or gone, and that did not run again since. The order is that of the
-- positions in the ledger. A ledger of an earlier version has none: its rows come before all others, in order of time.
WITH ledger AS (
    SELECT 'altered' AS kind, checked_at AS moment, *
    FROM raw.fixity_checks
    WHERE result IN ('changed', 'gone')
    UNION ALL BY NAME
    SELECT 'run' AS kind, published_at AS moment, * FROM raw.publications
    UNION ALL BY NAME
    SELECT 'run' AS kind, occurred_at AS moment, *
    FROM raw.acts
    WHERE action = 'rechecked'
    UNION ALL BY NAME
    SELECT NULL::BIGINT AS position
    WHERE false
),

run_again AS (
    SELECT partition_date, max((coalesce(position, 0), moment)) AS place
    FROM ledger
    WHERE kind = 'run'
    GROUP BY partition_date
)

SELECT l.partition_date, count(*)
FROM ledger AS l
ANTI JOIN run_again AS r
    ON r.partition_date = l.partition_date AND r.place > (coalesce(l.position, 0), l.moment)
WHERE l.kind = 'altered'
GROUP BY l.partition_date
