-- Conversations that were read one by one, with whole attributes. Every load with a usable receipt has its rows;
-- `is_current` marks the newest load. A document that names another conversation than the request tells nothing of this one.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read; other_conversation if it names another one
-- column key_conversation_id: conversation that the request named
-- column conversation_id: conversation that the document names
-- column start_time: start (UTC)
-- column end_time: end (UTC)
-- column division_ids: divisions
-- column participants [pii]: participants with attributes
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.source_uri,
    d.fetched_at,
    d.document_sha256,
    d.document_uri,
    CASE
        WHEN d.document_state = 'ok' AND lower(d.conversation_id) <> lower(d.key_conversation_id) THEN 'other_conversation'
        ELSE d.document_state
    END AS document_state,
    d.key_conversation_id,
    d.conversation_id,
    CASE WHEN coalesce(lower(d.conversation_id) = lower(d.key_conversation_id), true) THEN d.start_time END AS start_time,
    d.end_time,
    d.division_ids,
    d.participants
FROM raw.conversations AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable
