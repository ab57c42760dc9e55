-- Conversations that live capture read when an event arrived. Every load with a usable receipt has its rows;
-- `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column is_latest: true for the latest capture of the conversation in the current load
-- column source_uri: source of the document: API path, object or capture document
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read
-- column conversation_id: conversation
-- column observed_at: when live capture first read this content (UTC)
-- column conversation_sha256: SHA-256 of the conversation's bytes as received
-- column participants [pii]: participants with attributes
-- column typed_attributes [pii]: key and value of each typed attribute of the conversation
-- column typed_state: ok, or the reason why the answer with the typed attributes cannot be read; null if there is none
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    r.is_current AND row_number() OVER (
        PARTITION BY d.partition_date, d.landing_id, d.conversation_id
        ORDER BY d.document_state = 'ok' DESC, d.observed_at DESC, d.document_uri DESC
    ) = 1 AS is_latest,
    d.source_uri,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.conversation_id,
    d.observed_at,
    d.conversation_sha256,
    d.participants,
    d.typed_attributes,
    d.typed_state
FROM raw.captures AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable
