-- Typed custom attributes of a conversation, one row per attribute. Every load with a usable receipt has its rows;
-- `is_current` marks the newest load.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row
-- column is_current: true if the load is the newest usable load of the night and resource
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read
-- column key_conversation_id: conversation that the request named
-- column conversation_id: conversation that the document names
-- column participant_id: participant; null where the attribute has none
-- column attribute_key: key, as set
-- column attribute_value [pii]: value, verbatim
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
    d.participant_id,
    d.attribute_key,
    d.attribute_value
FROM raw.conversation_attributes AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable
