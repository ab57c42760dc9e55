-- What the vendor's audits say of recordings: who viewed, downloaded, exported, changed or deleted them. From
-- POST /api/v2/quality/conversations/audits/query and POST /api/v2/audits/query. Entries that name a conversation of
-- another night are left out.
--
-- grain: partition_date, landing_id, audit_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column audit_id: the entry
-- column conversation_id: conversation that the entry's context names
-- column entity_id: thing that was acted on, usually a recording
-- column entity_type: kind of that thing, as written
-- column service_name: service of the vendor, as written
-- column action_written: what was done, as written
-- column audit_level: User, System or GENESYS_INTERNAL, as written
-- column audit_status: Success, Failure or Warning, as written
-- column user_id [pii]: person who did it
-- column user_name [pii]: name of the person, where the entry has it
-- column client_id: OAuth client that did it
-- column remote_ips [pii]: addresses that the person or client had
-- column event_date: when it was done (UTC)
-- column property_changes: what was changed: property, old and new values
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE WHEN repeats_a_key(document.context) THEN 'duplicate_key' ELSE document_state END AS document_state
    ),
    coalesce(document.id, k.id) AS audit_id,
    CASE WHEN NOT repeats_a_key(document.context) THEN given(document.context['conversationId']) END AS conversation_id,
    given(document.entity.id) AS entity_id,
    document.entityType AS entity_type,
    document.serviceName AS service_name,
    document."action" AS action_written,
    document.level AS audit_level,
    document.status AS audit_status,
    document."user".id AS user_id,
    document."user"."name" AS user_name,
    document.client.id AS client_id,
    coalesce(document.remoteIps, document.remoteIp) AS remote_ips,
    utc_moment(document.eventDate) AS event_date,
    list_transform(
        document.propertyChanges,
        lambda c: struct_pack(property := c.property, old_values := c.oldValues, new_values := c.newValues)
    ) AS property_changes
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(id VARCHAR)',
    document_types := 'STRUCT(
        id VARCHAR, entityType VARCHAR, serviceName VARCHAR, "action" VARCHAR, level VARCHAR, status VARCHAR,
        eventDate VARCHAR, remoteIps VARCHAR[], remoteIp VARCHAR[], context MAP(VARCHAR, VARCHAR),
        entity STRUCT(id VARCHAR), "user" STRUCT(id VARCHAR, "name" VARCHAR), client STRUCT(id VARCHAR),
        propertyChanges STRUCT(property VARCHAR, oldValues VARCHAR[], newValues VARCHAR[])[]
    )'
) AS landed
