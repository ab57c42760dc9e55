-- A digest of the columns of each table and view, and of a view's definition: somebody may have altered it.
SELECT
    schema_name || '.' || table_name AS model,
    sha256(string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_index) || coalesce(sql, '')) AS shape
FROM duckdb_columns()
LEFT JOIN (
    SELECT schema_name, view_name AS table_name, sql FROM duckdb_views()
    WHERE database_name = current_database()
) USING (schema_name, table_name)
WHERE database_name = current_database()
GROUP BY schema_name, table_name, sql
