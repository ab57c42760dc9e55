-- The mapped columns of a night: recordings that should have the tag; of these, recordings that have it, and where it was
-- found.
WITH due AS (
    SELECT * FROM staging.mapped_tags
    WHERE partition_date = $night AND applies
),

places AS (
    SELECT column_name, map_from_entries(list((place, recordings) ORDER BY recordings DESC, place)) AS places
    FROM (
        SELECT column_name, concat_ws('/', source, purpose) AS place, count(*) AS recordings
        FROM due
        WHERE status = 'found'
        GROUP BY ALL
    )
    GROUP BY column_name
)

SELECT m.column_name, m.names[1], m.required,
    count(t.status), count(*) FILTER (t.status = 'found'),
    count(*) FILTER (t.status IN ('missing', 'no_value', 'blank')),
    count(*) FILTER (t.status = 'elsewhere'), count(*) FILTER (t.status IN ('prefixed', 'variant')),
    coalesce(any_value(p.places), MAP {})
FROM staging.tag_mapping AS m
LEFT JOIN due AS t USING (partition_date, column_name)
LEFT JOIN places AS p USING (column_name)
WHERE m.partition_date = $night AND m.column_name IS NOT NULL
GROUP BY m.column_name, m.names[1], m.required, m.position
ORDER BY m.position
