-- The columns of the mapping from `$first` to `$last`, required ones first, the worst first. `tag_key` is the newest, as
-- a mapping may change. `since` is the first night of the newest stretch of nights below 100 %. `queue` and `script` are
-- where most values are missing.
WITH nights AS (
    SELECT column_name, partition_date, sum(expected) > sum(present) AS is_below,
        row_number() OVER (PARTITION BY column_name ORDER BY partition_date)
            - row_number() OVER (PARTITION BY column_name, is_below ORDER BY partition_date) AS stretch
    FROM custody.tag_quality
    WHERE partition_date <= $last
    GROUP BY column_name, partition_date
),

since AS (
    SELECT column_name, min(partition_date) AS since
    FROM nights
    WHERE is_below
    GROUP BY column_name, stretch
    QUALIFY row_number() OVER (PARTITION BY column_name ORDER BY max(partition_date) DESC) = 1
),

places AS (
    SELECT column_name, queue_names, nullif(concat_ws(' ',
            coalesce(max(script_name), nullif(script_id, '')), 'version ' || nullif(script_version, '')
        ), '') AS script, sum(expected - present) AS lost, sum(expected) AS of
    FROM custody.tag_quality
    WHERE partition_date BETWEEN $first AND $last
    GROUP BY column_name, queue_names, script_id, script_version
    HAVING sum(expected) > sum(present)
    QUALIFY row_number() OVER (PARTITION BY column_name ORDER BY lost DESC, queue_names, script_id, script_version) = 1
)

SELECT arg_max(q.tag_key, q.partition_date) AS tag_key, bool_or(q.required) AS required, sum(q.expected)::BIGINT AS expected,
    sum(q.present)::BIGINT AS present, sum(q.empty)::BIGINT AS empty, sum(q.elsewhere)::BIGINT AS elsewhere,
    sum(q.variant)::BIGINT AS variant, sum(q.no_value)::BIGINT AS no_value,
    sum(q.unavailable)::BIGINT AS unavailable, sum(q.missing)::BIGINT AS missing,
    any_value(s.since) AS since, any_value(p.queue_names) AS queue, any_value(p.script) AS script,
    any_value(p.lost)::BIGINT AS at_worst, any_value(p.of)::BIGINT AS of_worst,
    q.column_name
FROM custody.tag_quality AS q
LEFT JOIN since AS s USING (column_name)
LEFT JOIN places AS p USING (column_name)
WHERE q.partition_date BETWEEN $first AND $last
GROUP BY q.column_name
ORDER BY bool_or(q.required) DESC, sum(q.present) / sum(q.expected), tag_key, q.column_name
