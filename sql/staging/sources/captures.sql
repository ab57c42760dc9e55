-- Conversations as read at the moment of an event, by live capture. Rows of every load that has a receipt; `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: the load it came with
-- column is_current: the load is the night's newest
-- column is_latest: and no later capture of the conversation is in it
-- column source_uri: where it was received from
-- column fetched_at: when (UTC)
-- column document_sha256: SHA-256 of the bytes as received
-- column document_uri: landing file and row that hold them
-- column document_state: ok, or why the bytes could not be read
-- column conversation_id: conversation
-- column observed_at: when it was read (UTC)
-- column conversation_sha256: SHA-256 of the conversation's bytes
-- column event_id: the event that caused the reading
-- column participants [pii]: participants with attributes
-- column typed_attributes [pii]: key and value of each typed attribute of the conversation
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    r.is_current AND row_number() OVER (
        PARTITION BY d.partition_date, d.landing_id, d.conversation_id ORDER BY d.observed_at DESC, d.document_uri DESC
    ) = 1 AS is_latest,
    d.source_uri,
    d.fetched_at,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.conversation_id,
    d.observed_at,
    d.conversation_sha256,
    d.event_id,
    d.participants,
    d.typed_attributes
FROM raw.captures AS d
INNER JOIN staging.receipts AS r ON r.partition_date = d.partition_date AND r.landing_id = d.landing_id
WHERE r.is_usable
