-- The text columns of each table.
SELECT c.schema_name || '.' || c.table_name, list(c.column_name)
FROM duckdb_columns() AS c
SEMI JOIN duckdb_tables() AS t USING (database_name, schema_name, table_name)
WHERE database_name = current_database() AND c.data_type = 'VARCHAR'
GROUP BY ALL
ORDER BY ALL
