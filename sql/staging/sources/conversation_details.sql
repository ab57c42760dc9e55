-- Conversations from the bulk analytics job, which cuts keys and values at 1,024 characters. Every load with a usable
-- receipt has its rows; `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read
-- column conversation_id: conversation
-- column conversation_start: start (UTC)
-- column conversation_end: end (UTC)
-- column division_ids: divisions
-- column originating_direction: inbound or outbound
-- column screen_recorded: participants whose screen was recorded, by the vendor's flag
-- column participants [pii]: participants with attributes, sessions, segments and flow
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.source_uri,
    d.fetched_at,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.conversation_id,
    d.conversation_start,
    d.conversation_end,
    d.division_ids,
    d.originating_direction,
    d.screen_recorded,
    d.participants
FROM raw.conversation_details AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable
