-- Entries of the vendor's audits about recordings, each once, as first received in any query and load.
--
-- grain: partition_date, audit_id
-- column partition_date: UTC day of the conversation's start
-- column audit_id: the entry
-- column conversation_id: conversation that the entry's context names
-- column entity_id: thing that was acted on, usually a recording
-- column entity_type: kind of that thing, as written
-- column service_name: service of the vendor, as written
-- column action_written: what was done, as written
-- column access_action: the same in one word: viewed, downloaded, exported, deleted, archived, restored, protected, unprotected, retention_changed, changed, created or other
-- column is_success: true if the entry says so
-- column audit_status: Success, Failure or Warning, as written
-- column user_id [pii]: person who did it
-- column user_name [pii]: name of the person, where the entry has it
-- column client_id: OAuth client that did it
-- column is_own_client: true if that client collects the nights
-- column remote_ips [pii]: addresses that the person or client had
-- column occurred_at: when it was done (UTC)
-- column property_changes: what was changed
-- column evidence: the entry, as evidence
WITH received AS (
    SELECT d.*, r.collector
    FROM raw.recording_audits AS d
    INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
    WHERE r.is_usable AND d.document_state = 'ok' AND d.audit_id IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY d.partition_date, d.audit_id ORDER BY r."sequence", d.fetched_at, d.landing_id, d.document_uri
    ) = 1
)

SELECT
    partition_date,
    audit_id,
    coalesce(conversation_id, '') AS conversation_id,
    entity_id,
    entity_type,
    service_name,
    action_written,
    CASE
        WHEN lower(action_written) IN ('read', 'view') THEN 'viewed'
        WHEN lower(action_written) = 'download' THEN 'downloaded'
        WHEN lower(action_written) = 'export' THEN 'exported'
        WHEN lower(action_written) = 'delete' THEN 'deleted'
        WHEN lower(action_written) = 'archive' THEN 'archived'
        WHEN lower(action_written) IN ('restorerequest', 'restorecomplete') THEN 'restored'
        WHEN lower(action_written) = 'applyprotection' THEN 'protected'
        WHEN lower(action_written) = 'revokeprotection' THEN 'unprotected'
        WHEN lower(action_written) = 'updateretention' THEN 'retention_changed'
        WHEN lower(action_written) = 'update' THEN 'changed'
        WHEN lower(action_written) = 'create' THEN 'created'
        ELSE 'other'
    END AS access_action,
    coalesce(lower(audit_status) = 'success', false) AS is_success,
    audit_status,
    user_id,
    user_name,
    client_id,
    coalesce(client_id = collector, false) AS is_own_client,
    remote_ips,
    event_date AS occurred_at,
    property_changes,
    {
        'uri': document_uri, 'sha256': document_sha256, 'what': 'recording_audits document', 'observed_at': fetched_at
    } AS evidence
FROM received
