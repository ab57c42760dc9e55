-- Who viewed, downloaded, exported, changed or deleted recordings at the vendor, by the vendor's audits: each entry once
-- for each recording that it names. An entry that names a conversation alone has no recording. No row is no proof that
-- nobody listened: `custody.coverage` says whether the audits were asked, and until when.
--
-- grain: partition_date, conversation_id, recording_id, access_id
-- column partition_date DATE: UTC day of the conversation's start
-- column conversation_id VARCHAR: conversation
-- column recording_id VARCHAR: recording; empty if the entry names only the conversation
-- column access_id VARCHAR: the vendor's id of the entry
-- column occurred_at TIMESTAMP: when (UTC)
-- column action VARCHAR: viewed, downloaded, exported, deleted, archived, restored, protected, unprotected, retention_changed, changed, created or other
-- column action_as_written VARCHAR: the vendor's word for it
-- column outcome VARCHAR: Success, Failure or Warning, as written: some services write capitals
-- column user_id VARCHAR [pii]: person who did it; null for a client
-- column user_name VARCHAR [pii]: name of the person, where the entry or the list of users has it
-- column client_id VARCHAR: OAuth client that did it
-- column is_own_collection BOOLEAN: true if the client is the one that collects the nights; such rows are no reason to publish a night again
-- column from_ips VARCHAR[] [pii]: addresses that the person or client had
-- column what VARCHAR: kind of thing that was acted on, as written
-- column service VARCHAR: service of the vendor, as written
-- column changes VARCHAR: JSON list of {property, old_values, new_values}; null if nothing was changed
-- column source VARCHAR: audit document that says so
-- column document_sha256 VARCHAR: SHA-256 of that document's bytes as received
WITH recordings AS (
    SELECT partition_date, conversation_id, recording_id
    FROM custody.chain_of_custody
),

with_recording AS (
    SELECT a.*, r.conversation_id AS of_conversation, r.recording_id
    FROM staging.recording_audits AS a
    LEFT JOIN recordings AS r ON r.partition_date = a.partition_date AND r.recording_id = a.entity_id
),

with_conversation AS (
    -- A recording that no other source knows any more: the entry is all that is left of it.
    SELECT * REPLACE (
        coalesce(of_conversation, conversation_id) AS conversation_id,
        CASE
            WHEN recording_id IS NOT NULL THEN recording_id
            WHEN lower(entity_type) LIKE '%recording%' AND entity_id IS DISTINCT FROM conversation_id THEN coalesce(entity_id, '')
            ELSE ''
        END AS recording_id
    )
    FROM with_recording
    WHERE recording_id IS NOT NULL OR (conversation_id <> '' AND conversation_id IN (SELECT conversation_id FROM recordings))
)

SELECT
    p.partition_date,
    p.conversation_id,
    p.recording_id,
    p.audit_id AS access_id,
    p.occurred_at,
    p.access_action AS action,
    p.action_written AS action_as_written,
    p.audit_status AS outcome,
    p.user_id,
    coalesce(p.user_name, u.user_name) AS user_name,
    p.client_id,
    p.is_own_client AS is_own_collection,
    p.remote_ips AS from_ips,
    p.entity_type AS what,
    p.service_name AS service,
    CASE WHEN len(p.property_changes) > 0 THEN to_json(p.property_changes)::VARCHAR END AS changes,
    p.evidence.uri AS source,
    p.evidence.sha256 AS document_sha256
FROM with_conversation AS p
LEFT JOIN staging.night_users AS u ON u.partition_date = p.partition_date AND u.user_id = p.user_id
ORDER BY p.partition_date, p.conversation_id, p.recording_id, p.audit_id
