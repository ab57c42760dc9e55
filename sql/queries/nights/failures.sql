-- Nights that failed, were published or were rechecked. `failure` is null unless the last run failed: a failure counts
-- until the night is published or rechecked after it.
WITH failures AS (
    SELECT partition_date, max(occurred_at) AS failed_at, arg_max(what || ': ' || why, occurred_at) AS failure
    FROM raw.acts
    WHERE action = 'exception'
    GROUP BY partition_date
),

successes AS (
    SELECT partition_date, max(succeeded_at) AS succeeded_at
    FROM (
        SELECT partition_date, published_at AS succeeded_at
        FROM raw.publications
        UNION ALL
        SELECT partition_date, occurred_at
        FROM raw.acts
        WHERE action = 'rechecked'
    )
    GROUP BY partition_date
)

SELECT partition_date, if(f.failed_at > coalesce(s.succeeded_at, '-infinity'::TIMESTAMP), f.failure, NULL) AS failure
FROM failures AS f
FULL JOIN successes AS s USING (partition_date)
