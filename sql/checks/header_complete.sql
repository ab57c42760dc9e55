-- chain_of_custody has every column that its header declares, and every column of the night's mapping.
--
-- asset: custody.chain_of_custody
-- blocking: true
-- column column_name: missing column
WITH expected_columns AS (
    SELECT declared.column_name
    FROM (SELECT unnest($declared_columns, recursive := true)) AS declared
    WHERE declared.table_name = 'chain_of_custody'
    UNION
    SELECT column_name
    FROM staging.tag_mapping
    WHERE column_name IS NOT NULL
),

present AS (
    SELECT column_name
    FROM information_schema.columns
    WHERE table_catalog = getvariable('warehouse') AND table_schema = 'custody' AND table_name = 'chain_of_custody'
)

SELECT column_name
FROM expected_columns
ANTI JOIN present USING (column_name)
ORDER BY column_name
