-- Events about attributes, recordings and ends of calls, as live capture received them. Every load with a usable
-- receipt has its rows; `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column source_uri: source of the document: API path, object or capture document
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read
-- column event_id: event
-- column topic: topic of the event
-- column conversation_id: conversation
-- column participant_id: participant of the event
-- column recording_id: recording of the event
-- column outcome: captured, or the reason why the conversation could not be read
-- column event_time: when the event happened, as the event says (UTC)
-- column received_at: when live capture received the event (UTC)
-- column attributes [pii]: attributes in the event, verbatim
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.source_uri,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.event_id,
    d.topic,
    d.conversation_id,
    d.participant_id,
    d.recording_id,
    d.outcome,
    d.event_time,
    d.received_at,
    d.attributes
FROM raw.conversation_events AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable
