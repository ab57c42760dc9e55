-- The columns of a table of the warehouse's `custody` schema, in order.
SELECT column_name, data_type, coalesce(comment, '')
FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = 'custody' AND table_name = $name
ORDER BY column_index
