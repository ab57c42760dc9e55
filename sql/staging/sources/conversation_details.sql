-- Conversations as the bulk analytics job gives them; keys and values are cut at 1,024 characters. Rows of every load that has a receipt; `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: the load it came with
-- column is_current: the load is the night's newest
-- column source_uri: where it was received from
-- column fetched_at: when (UTC)
-- column document_sha256: SHA-256 of the bytes as received
-- column document_uri: landing file and row that hold them
-- column document_state: ok, or why the bytes could not be read
-- column page_sha256: SHA-256 of the page it came in
-- column job_id: the analytics job
-- column conversation_id: conversation
-- column conversation_start: start (UTC)
-- column conversation_end: end (UTC)
-- column division_ids: divisions
-- column originating_direction: inbound or outbound
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
    d.page_sha256,
    d.job_id,
    d.conversation_id,
    d.conversation_start,
    d.conversation_end,
    d.division_ids,
    d.originating_direction,
    d.participants
FROM raw.conversation_details AS d
INNER JOIN staging.receipts AS r ON r.partition_date = d.partition_date AND r.landing_id = d.landing_id
WHERE r.is_usable
