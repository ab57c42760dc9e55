-- Events about the night's conversations as live capture received them, through whichever door.
--
-- grain: partition_date, landing_id, source_uri
-- column partition_date: UTC day of conversation start that this row was collected for
-- column landing_id: the load it came with; current when the newest receipt of its resource names it
-- column source_uri: where it was read: API path, object, or capture document
-- column fetched_at: when it was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold these bytes
-- column document_state: ok, or why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document as received
-- column event_id: id of the event
-- column topic: topic it came under
-- column conversation_id: its conversation
-- column participant_id: its participant, where it has one
-- column recording_id: its recording, where it names one
-- column outcome: captured, or why the conversation could not be read
-- column event_time: when it happened (UTC)
-- column received_at: when it was received (UTC)
-- column attributes [pii]: attributes that it carries
SELECT
    $partition_date::DATE AS partition_date,
    $landing_id::VARCHAR AS landing_id,
    source_uri,
    fetched_at,
    sha256 AS document_sha256,
    $folder::VARCHAR || '/' || parse_filename(filename) || '#L' || "row" AS document_uri,
    CASE
        WHEN len(list_distinct(map_keys(document.attributes))) < cardinality(document.attributes) THEN 'duplicate_key'
        ELSE state
    END AS document_state,
    "bytes" AS document_bytes,
    document.event_id AS event_id,
    document.topic AS topic,
    document.conversation_id AS conversation_id,
    document.participant_id AS participant_id,
    document.recording_id AS recording_id,
    document.outcome AS outcome,
    try_cast(document.event_time AS TIMESTAMP) AS event_time,
    try_cast(document.received_at AS TIMESTAMP) AS received_at,
    CASE
        WHEN len(list_distinct(map_keys(document.attributes))) < cardinality(document.attributes) THEN NULL
        ELSE document.attributes
    END AS attributes
FROM read_json(
    $files,
    format = 'newline_delimited',
    compression = 'gzip',
    filename = true,
    maximum_object_size = 33554432,
    columns = {
        k: 'STRUCT("key" VARCHAR)',
        "row": 'BIGINT',
        source_uri: 'VARCHAR',
        fetched_at: 'TIMESTAMP',
        sha256: 'VARCHAR',
        "bytes": 'BIGINT',
        state: 'VARCHAR',
        document: 'STRUCT(
            event_id VARCHAR, topic VARCHAR, conversation_id VARCHAR, participant_id VARCHAR, recording_id VARCHAR,
            outcome VARCHAR, event_time VARCHAR, received_at VARCHAR, attributes MAP(VARCHAR, VARCHAR)
        )'
    }
)
