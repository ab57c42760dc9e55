-- Current version of the sidecar of each exported recording, in any of the sidecar's forms.
--
-- grain: partition_date, landing_id, bucket, object_key
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column bucket: export bucket
-- column object_key: key in the bucket
-- column version_id: version that was read; null where versions could not be listed
-- column key_conversation_id: conversation in the key
-- column key_recording_id: recording in the key
-- column conversation_id: conversationId in the document; id of a conversation document
-- column recording_id: recordingId in the document
-- column media_type: mediaType: Call, Chat, Email, Message, Callback, Screen
-- column media_subtype: mediaSubtype
-- column provider: provider
-- column user_ids: userIds, else the ids in users, else the agents of a conversation document
-- column start_time: startTime, as written; null for a conversation document, whose times are the conversation's
-- column end_time: endTime, as written; null for a conversation document
-- column duration_ms: durationMs
-- column duration_written: durationMs, as JSON; a text has its quotation marks
-- column conversation_start: conversationStart, else startTime of a conversation document (UTC)
-- column conversation_end: conversationEnd, else endTime of a conversation document (UTC)
-- column initial_direction: initialDirection, else direction or originatingDirection
-- column has_tags_field: true if the document has a field custom_data, customData or attributes, even an empty one
-- column tags [pii]: content of the first of these fields that has a tag, else of an empty one; null if none is an object
-- column other_tags [pii]: contents of the other fields
-- column participants [pii]: participants with attributes, if the sidecar is a conversation detail document
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            WHEN document_state <> 'ok' THEN document_state
            WHEN json_type(document) IS DISTINCT FROM 'OBJECT'
                OR has_odd_tags(document)
                OR json_type(document, '$.participants') NOT IN ('ARRAY', 'NULL')
                OR list_has_any(
                    list_transform(json_extract(document, '$.participants[*]'), lambda p: json_type(p)),
                    ['ARRAY', 'VARCHAR', 'BOOLEAN', 'BIGINT', 'UBIGINT', 'DOUBLE']
                )
                OR list_has_any(
                    list_transform(json_extract(document, '$.participants[*].attributes'), lambda p: json_type(p)),
                    ['ARRAY', 'VARCHAR', 'BOOLEAN', 'BIGINT', 'UBIGINT', 'DOUBLE']
                )
                THEN 'wrong_shape'
            WHEN list_bool_or([repeats_a_name(o) FOR o IN t.objects])
                OR list_bool_or([repeats_a_key(found) FOR found IN t.fields])
                OR list_bool_or([repeats_a_key(p.attributes) FOR p IN d.participants])
                THEN 'duplicate_key'
            ELSE document_state
        END AS document_state
    ),
    k.bucket,
    k.object_key,
    k.version_id,
    k.conversation_id AS key_conversation_id,
    k.recording_id AS key_recording_id,
    coalesce(d.conversationId, CASE WHEN t.is_conversation THEN d.id END) AS conversation_id,
    d.recordingId AS recording_id,
    d.mediaType AS media_type,
    d.mediaSubtype AS media_subtype,
    d.provider,
    coalesce(
        nullif(t.named_users, []),
        nullif(
            list_filter(
                list_transform(
                    json_extract(document, '$.users[*]'),
                    lambda u: CASE
                        WHEN json_type(u) = 'OBJECT' THEN coalesce(u ->> '$.id', u ->> '$.userId')
                        ELSE u ->> '$'
                    END
                ),
                lambda u: u <> ''
            ),
            []
        ),
        CASE
            WHEN t.is_conversation THEN [p.userId FOR p IN d.participants IF p.userId IS NOT NULL]
        END,
        t.named_users
    ) AS user_ids,
    CASE WHEN NOT t.is_conversation THEN d.startTime END AS start_time,
    CASE WHEN NOT t.is_conversation THEN d.endTime END AS end_time,
    d.durationMs AS duration_ms,
    nullif(json_extract(document, '$.durationMs')::VARCHAR, 'null') AS duration_written,
    utc_moment(coalesce(d.conversationStart, CASE WHEN t.is_conversation THEN d.startTime END)) AS conversation_start,
    utc_moment(coalesce(d.conversationEnd, CASE WHEN t.is_conversation THEN d.endTime END)) AS conversation_end,
    coalesce(d.initialDirection, d.direction, d.originatingDirection) AS initial_direction,
    coalesce(has_tags_field(document), false) AS has_tags_field,
    CASE WHEN NOT repeats_a_key(t.fields[1]) THEN t.fields[1] END AS tags,
    [found FOR found IN t.fields[2:] IF NOT repeats_a_key(found)] AS other_tags,
    list_transform(
        d.participants,
        lambda p: struct_pack(
            participant_id := coalesce(p.participantId, p.id),
            purpose := p.purpose,
            attributes := CASE
                WHEN repeats_a_key(p.attributes) THEN NULL
                ELSE p.attributes
            END
        )
    ) AS participants
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(
        bucket VARCHAR, object_key VARCHAR, version_id VARCHAR, conversation_id VARCHAR, recording_id VARCHAR
    )',
    document_types := 'JSON'
) AS landed,
    LATERAL (
        SELECT json_transform(document, '{
            "conversationId": "VARCHAR", "recordingId": "VARCHAR", "mediaType": "VARCHAR", "mediaSubtype": "VARCHAR",
            "provider": "VARCHAR", "userIds": ["VARCHAR"], "startTime": "VARCHAR", "endTime": "VARCHAR",
            "durationMs": "BIGINT", "initialDirection": "VARCHAR", "direction": "VARCHAR",
            "originatingDirection": "VARCHAR", "id": "VARCHAR", "conversationStart": "VARCHAR",
            "conversationEnd": "VARCHAR",
            "custom_data": "MAP(VARCHAR, VARCHAR)", "customData": "MAP(VARCHAR, VARCHAR)",
            "attributes": "MAP(VARCHAR, VARCHAR)",
            "participants": [{
                "id": "VARCHAR", "participantId": "VARCHAR", "purpose": "VARCHAR", "userId": "VARCHAR",
                "attributes": "MAP(VARCHAR, VARCHAR)"
            }]
        }') AS d
    ),
    LATERAL (
        SELECT tag_fields(d) AS fields, list_filter(d.userIds, lambda u: u <> '') AS named_users,
            [document] || json_extract(document, '$.participants[*]') || json_extract(document, '$.users[*]') AS objects,
            coalesce(json_type(document, '$.participants') = 'ARRAY', false) AS is_conversation
    ) AS t
