-- The revisions that published `$table`, and its columns in each with their types, as text.
SELECT partition_date, revision, string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_name)
FROM raw.published_columns
SEMI JOIN (
    SELECT partition_date, revision
    FROM raw.publications, LATERAL (SELECT unnest(files) AS file)
    WHERE file.table_name = $table
) AS published USING (partition_date, revision)
WHERE table_name = $table
GROUP BY ALL
ORDER BY ALL
