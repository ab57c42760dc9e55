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
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            WHEN repeats_a_key(document.attributes) THEN 'duplicate_key'
            ELSE document_state
        END AS document_state
    ),
    document.event_id,
    document.topic,
    document.conversation_id,
    document.participant_id,
    document.recording_id,
    document.outcome,
    try_cast(document.event_time AS TIMESTAMP) AS event_time,
    try_cast(document.received_at AS TIMESTAMP) AS received_at,
    CASE
        WHEN repeats_a_key(document.attributes) THEN NULL
        ELSE document.attributes
    END AS attributes
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT("key" VARCHAR)',
    document_types := 'STRUCT(
        event_id VARCHAR, topic VARCHAR, conversation_id VARCHAR, participant_id VARCHAR, recording_id VARCHAR,
        outcome VARCHAR, event_time VARCHAR, received_at VARCHAR, attributes MAP(VARCHAR, VARCHAR)
    )'
) AS landed
