-- Conversations of the night as live capture read them, one row per different content.
--
-- grain: partition_date, landing_id, source_uri
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column conversation_id: conversation
-- column observed_at: when live capture first read this content (UTC)
-- column conversation_sha256: SHA-256 of the conversation's bytes as received
-- column event_id: event that caused the read
-- column participants [pii]: participants with their attributes
-- column typed_attributes [pii]: key and value of each typed attribute of the conversation, values as text
-- column typed_state: ok, or the reason why the answer with the typed attributes cannot be read: not_json, wrong_shape, duplicate_key; null if there is none
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            WHEN list_bool_or(
                list_transform(
                    document.participants, lambda p: repeats_a_key(p.attributes)
                )
            ) THEN 'duplicate_key'
            -- What the vendor answered was no conversation.
            WHEN document_state = 'ok' THEN coalesce(document.conversation_state, 'ok')
            ELSE document_state
        END AS document_state
    ),
    coalesce(given(document.conversation_id), given(regexp_extract(k."key", 'conversation_id=([^/]+)/', 1))) AS conversation_id,
    try_cast(document.observed_at AS TIMESTAMP) AS observed_at,
    document.conversation_sha256,
    document."event".event_id AS event_id,
    list_transform(
        document.participants,
        lambda p: struct_pack(
            participant_id := p.participant_id, purpose := p.purpose, attributes := CASE
                WHEN repeats_a_key(p.attributes) THEN NULL
                ELSE p.attributes
            END
        )
    ) AS participants,
    list_sort(list_distinct(
        list_transform(
            flatten([map_entries(r.customAttributes) FOR r IN typed.results IF NOT repeats_a_key(r.customAttributes)]),
            lambda e: struct_pack("key" := e."key", "value" := as_written(e."value"))
        )
    )) AS typed_attributes,
    CASE
        WHEN document.custom_attributes_base64 IS NULL THEN NULL
        WHEN typed_answer IS NULL THEN 'not_json'
        WHEN json_type(typed_answer) <> 'OBJECT'
            OR CASE
                WHEN json_exists(typed_answer, '$.results') THEN json_type(typed_answer, '$.results') NOT IN ('ARRAY', 'NULL')
                -- The vendor leaves out an empty list. An error in its place is none.
                ELSE json_exists(typed_answer, '$.message') OR json_exists(typed_answer, '$.code')
            END
            OR list_bool_or([kind NOT IN ('OBJECT', 'NULL') FOR kind IN json_type(typed_answer, '$.results[*]')])
            OR list_bool_or(
                [kind NOT IN ('OBJECT', 'NULL') FOR kind IN json_type(typed_answer, '$.results[*].customAttributes')]
            )
            THEN 'wrong_shape'
        WHEN repeats_a_name(typed_answer) OR list_bool_or([repeats_a_key(r.customAttributes) FOR r IN typed.results])
            THEN 'duplicate_key'
        ELSE 'ok'
    END AS typed_state
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT("key" VARCHAR)',
    document_types := 'STRUCT(
        conversation_id VARCHAR, observed_at VARCHAR, conversation_sha256 VARCHAR, conversation_state VARCHAR,
        "event" STRUCT(event_id VARCHAR),
        custom_attributes_base64 VARCHAR,
        participants STRUCT(participant_id VARCHAR, purpose VARCHAR, attributes MAP(VARCHAR, VARCHAR))[]
    )'
) AS landed,
    LATERAL (
        SELECT try_cast(try(decode(from_base64(document.custom_attributes_base64))) AS JSON) AS typed_answer
    ),
    LATERAL (
        SELECT try(json_transform(typed_answer, '{"results": [{"customAttributes": "MAP(VARCHAR, JSON)"}]}')) AS typed
    )
