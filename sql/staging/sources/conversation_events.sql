-- Attribute and end events, as received. Rows of every load that has a receipt; `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: the load it came with
-- column is_current: the load is the night's newest
-- column source_uri: where it was received from
-- column fetched_at: when (UTC)
-- column document_sha256: SHA-256 of the bytes as received
-- column document_uri: landing file and row that hold them
-- column document_state: ok, or why the bytes could not be read
-- column event_id: the event
-- column topic: its topic
-- column conversation_id: conversation
-- column participant_id: participant
-- column recording_id: recording that it names
-- column outcome: captured, or why the conversation could not be read
-- column event_time: when it happened, as the event says (UTC)
-- column received_at: when it was received (UTC)
-- column attributes [pii]: attributes in it, verbatim
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.source_uri,
    d.fetched_at,
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
INNER JOIN staging.receipts AS r ON r.partition_date = d.partition_date AND r.landing_id = d.landing_id
WHERE r.is_usable
