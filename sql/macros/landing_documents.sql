-- Documents of landing files, one row per document, with the columns that every raw table begins with.
--
-- `k` holds the keys under which the document was stored. `key_types` and `document_types` are the DuckDB types of `k`
-- and `document`.
CREATE OR REPLACE TEMP MACRO landing_documents(
    files, night, landing, folder, key_types, document_types
) AS TABLE
SELECT
    night::DATE AS partition_date,
    landing::VARCHAR AS landing_id,
    source_uri,
    fetched_at,
    sha256 AS document_sha256,
    folder::VARCHAR || '/' || parse_filename(filename) || '#L' || "row" AS document_uri,
    state AS document_state,
    "bytes" AS document_bytes,
    k,
    document
FROM read_json(
    files,
    format = 'newline_delimited',
    compression = 'gzip',
    filename = true,
    hive_partitioning = false,
    maximum_object_size = 33554432,
    columns = {
        k: key_types,
        "row": 'BIGINT',
        source_uri: 'VARCHAR',
        fetched_at: 'TIMESTAMP',
        sha256: 'VARCHAR',
        "bytes": 'BIGINT',
        state: 'VARCHAR',
        document: document_types
    }
)
-- What was erased keeps its line, and is no document any more.
WHERE state <> 'erased'
