-- Columns have the types that readers rely on: those of the contract, the mapping's as text, and every column as the newest
-- publication of another night had it.
--
-- blocking: true
-- column table_name: table
-- column column_name: column
-- column expected_type: type that readers rely on
-- column actual_type: type that it has
WITH newest AS (
    SELECT max((published_at, partition_date, revision)) AS publication
    FROM raw.published_columns
    WHERE NOT (partition_date >= $window_start AND partition_date < $window_end)
),

expected AS (
    SELECT unnest([
        {'t': 'chain_of_custody', 'c': 'partition_date', 'k': 'DATE'},
        {'t': 'chain_of_custody', 'c': 'conversation_id', 'k': 'VARCHAR'},
        {'t': 'chain_of_custody', 'c': 'recording_id', 'k': 'VARCHAR'},
        {'t': 'chain_of_custody', 'c': 'user_ids', 'k': 'VARCHAR[]'},
        {'t': 'chain_of_custody', 'c': 'queue_ids', 'k': 'VARCHAR[]'},
        {'t': 'chain_of_custody', 'c': 'queue_names', 'k': 'VARCHAR[]'},
        {'t': 'chain_of_custody', 'c': 'conversation_start', 'k': 'TIMESTAMP'},
        {'t': 'chain_of_custody', 'c': 'recording_start', 'k': 'TIMESTAMP'},
        {'t': 'chain_of_custody', 'c': 'duration_ms', 'k': 'BIGINT'},
        {'t': 'chain_of_custody', 'c': 'object_bytes', 'k': 'BIGINT'},
        {'t': 'chain_of_custody', 'c': 'object_last_modified', 'k': 'TIMESTAMP'},
        {'t': 'chain_of_custody', 'c': 'media_hashed_at', 'k': 'TIMESTAMP'},
        {'t': 'chain_of_custody', 'c': 'custom_data', 'k': 'VARCHAR'},
        {'t': 'chain_of_custody', 'c': 'custom_data_source', 'k': 'VARCHAR'},
        {'t': 'chain_of_custody', 'c': 'gap_reasons', 'k': 'VARCHAR[]'},
        {'t': 'chain_of_custody', 'c': 'revision', 'k': 'INTEGER'},
        {'t': 'custom_data', 'c': 'tag_key', 'k': 'VARCHAR'},
        {'t': 'custom_data', 'c': 'tag_value', 'k': 'VARCHAR'},
        {'t': 'custom_data', 'c': 'observed_at', 'k': 'TIMESTAMP'},
        {'t': 'gaps', 'c': 'reason', 'k': 'VARCHAR'},
        {'t': 'gaps', 'c': 'evidence', 'k': 'VARCHAR'},
        {'t': 'gaps', 'c': 'recoverable_until', 'k': 'TIMESTAMP'},
        {'t': 'reconciliation', 'c': 'expected', 'k': 'BIGINT'},
        {'t': 'reconciliation', 'c': 'unexplained', 'k': 'BIGINT'},
        {'t': 'custody_events', 'c': 'occurred_at', 'k': 'TIMESTAMP'}
    ], recursive := true)
    UNION
    SELECT 'chain_of_custody', column_name, 'VARCHAR'
    FROM staging.tag_mapping
    WHERE column_name IS NOT NULL AND partition_date >= $window_start AND partition_date < $window_end
    UNION
    SELECT c.table_name, c.column_name, c.data_type
    FROM raw.published_columns AS c
    INNER JOIN newest AS n ON n.publication = (c.published_at, c.partition_date, c.revision)
)

SELECT
    e.t AS table_name,
    e.c AS column_name,
    e.k AS expected_type,
    i.data_type AS actual_type
FROM expected AS e
LEFT JOIN information_schema.columns AS i
    ON i.table_schema = 'custody' AND i.table_name = e.t AND i.column_name = e.c
WHERE i.data_type IS DISTINCT FROM e.k
ORDER BY e.t, e.c
