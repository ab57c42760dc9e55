-- Tables and columns of schema `custody` in a database, with types and comments.
SELECT t.table_name, t.comment, c.column_name, c.data_type, c.comment
FROM duckdb_tables() AS t
INNER JOIN duckdb_columns() AS c USING (database_name, schema_name, table_name)
WHERE database_name = coalesce($database, current_database()) AND schema_name = 'custody'
ORDER BY t.table_name, c.column_index
