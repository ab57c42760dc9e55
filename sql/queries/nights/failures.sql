-- Nights that failed, were published or were rechecked. `failure` is null unless the last run failed. The order is that of
-- the positions in the ledger. A ledger of an earlier version has none: its rows come before all others, in order of time.
WITH outcomes AS (
    SELECT concat_ws(': ', what, why) AS failure, occurred_at AS moment, *
    FROM raw.acts
    WHERE action = 'exception'
    UNION ALL BY NAME
    SELECT NULL AS failure, occurred_at AS moment, *
    FROM raw.acts
    WHERE action = 'rechecked'
    UNION ALL BY NAME
    SELECT NULL AS failure, published_at AS moment, * FROM raw.publications
    UNION ALL BY NAME
    SELECT NULL::BIGINT AS position
    WHERE false
)

SELECT partition_date, failure
FROM outcomes
QUALIFY row_number() OVER (
    PARTITION BY partition_date ORDER BY coalesce(position, 0) DESC, moment DESC NULLS LAST, failure DESC NULLS FIRST
) = 1
