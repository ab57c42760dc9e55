-- Columns have the types that readers rely on: the types in the headers, text for columns of the mapping, and the types
-- in the newest publication of another night.
--
-- asset: custody.chain_of_custody
-- blocking: true
-- column table_name: table
-- column column_name: column
-- column expected_type: type that readers rely on
-- column actual_type: type of the column in the warehouse
WITH newest AS (
    SELECT max((published_at, partition_date, revision)) AS publication
    FROM raw.published_columns
    WHERE NOT (partition_date >= getvariable('window_start') AND partition_date < getvariable('window_end'))
),

expected AS (
    SELECT declared.table_name, declared.column_name, declared.data_type AS expected_type
    FROM (SELECT unnest($declared_columns, recursive := true)) AS declared
    UNION
    SELECT 'chain_of_custody', column_name, 'VARCHAR'
    FROM staging.tag_mapping
    WHERE column_name IS NOT NULL
    UNION
    SELECT published.table_name, published.column_name, published.data_type
    FROM raw.published_columns AS published
    INNER JOIN newest
        ON newest.publication = (published.published_at, published.partition_date, published.revision)
),

actual AS (
    SELECT table_name, column_name, data_type AS actual_type
    FROM information_schema.columns
    WHERE table_catalog = getvariable('warehouse') AND table_schema = 'custody'
)

SELECT table_name, column_name, expected.expected_type, actual.actual_type
FROM expected
LEFT JOIN actual USING (table_name, column_name)
WHERE actual.actual_type IS DISTINCT FROM expected.expected_type
ORDER BY table_name, column_name
