-- Each column of the published `$tables` and its type, as rows of `raw.published_columns`.
SELECT $night AS partition_date, $revision::INTEGER AS revision, $published_at::TIMESTAMP AS published_at,
    table_name, column_name, data_type
FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = 'custody' AND list_contains($tables, table_name)
