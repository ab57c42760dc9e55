-- Counts of the rows of `custody.tag_quality`.
SELECT round(100.0 * sum(present) FILTER (required) / nullif(sum(expected) FILTER (required), 0), 2)
        AS "required tags present %"
FROM custody.tag_quality
WHERE partition_date = $night
