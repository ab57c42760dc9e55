-- Conversations read one by one; attributes are whole here. Rows of every load that has a receipt; `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: the load it came with
-- column is_current: the load is the night's newest
-- column source_uri: where it was received from
-- column fetched_at: when (UTC)
-- column document_sha256: SHA-256 of the bytes as received
-- column document_uri: landing file and row that hold them
-- column document_state: ok, or why the bytes could not be read
-- column key_conversation_id: the conversation asked for
-- column conversation_id: the conversation the document names
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
    d.document_state,
    d.key_conversation_id,
    d.conversation_id,
    d.start_time,
    d.end_time,
    d.division_ids,
    d.participants
FROM raw.conversations AS d
INNER JOIN staging.receipts AS r ON r.partition_date = d.partition_date AND r.landing_id = d.landing_id
WHERE r.is_usable
