-- The comment on a table or view of the warehouse's `custody` schema.
SELECT max(comment)
FROM (
    SELECT comment, database_name, schema_name, table_name AS name FROM duckdb_tables()
    UNION ALL
    SELECT comment, database_name, schema_name, view_name FROM duckdb_views()
)
WHERE database_name = current_database() AND schema_name = 'custody' AND name = $name
