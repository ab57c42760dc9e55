-- Events about the night's conversations as live capture received them, by webhook, queue or any other way.
--
-- grain: partition_date, landing_id, source_uri
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column event_id: event
-- column topic: topic of the event
-- column conversation_id: conversation of the event
-- column participant_id: participant of the event; null if the event names none
-- column recording_id: recording of the event; null if the event names none
-- column outcome: captured, or the reason why the conversation could not be read
-- column event_time: when the event happened, as the event says (UTC)
-- column received_at: when live capture received the event (UTC)
-- column attributes [pii]: attributes in the event
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            WHEN repeats_a_key(document.attributes) THEN 'duplicate_key'
            WHEN document_state = 'ok' THEN coalesce(document.event_state, 'ok')
            ELSE document_state
        END AS document_state
    ),
    document.event_id,
    document.topic,
    coalesce(given(document.conversation_id), given(regexp_extract(k."key", 'conversation_id=([^/]+)/', 1))) AS conversation_id,
    document.participant_id,
    given(document.recording_id) AS recording_id,
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
        outcome VARCHAR, event_state VARCHAR, event_time VARCHAR, received_at VARCHAR, attributes MAP(VARCHAR, VARCHAR)
    )'
) AS landed
