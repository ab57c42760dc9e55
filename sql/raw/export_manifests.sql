-- Recordings from a gateway's recordingexports/{exportId}?includeMetadata=true, one row per recording. An empty list
-- has one row with nulls.
--
-- grain: partition_date, landing_id, export_id, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column export_id: export, from the settings
-- column conversation_id: conversation of the recording
-- column recording_id: exported recording
-- column has_tags_field: true if the entry has a field custom_data, customData or attributes, even an empty one
-- column tags [pii]: content of the first of these fields that has a tag, else of an empty one; null if none is an object
-- column media_uri: location of the media, as the gateway says
-- column other_tags [pii]: contents of the other fields
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            WHEN document_state = 'ok' AND has_odd_tags(item) THEN 'wrong_shape'
            WHEN list_bool_or([repeats_a_key(found) FOR found IN fields]) OR repeats_a_name(document) OR repeats_a_name(item)
                THEN 'duplicate_key'
            WHEN document_state = 'ok' AND (item IS NOT NULL OR document IS NULL)
                AND coalesce(given(item ->> '$.recordingId'), given(item ->> '$.recording.id')) IS NULL
                THEN 'wrong_shape'
            ELSE document_state
        END AS document_state
    ),
    k.export_id,
    coalesce(given(item ->> '$.conversationId'), given(item ->> '$.conversation.id')) AS conversation_id,
    coalesce(given(item ->> '$.recordingId'), given(item ->> '$.recording.id')) AS recording_id,
    has_tags_field(item) AS has_tags_field,
    CASE WHEN NOT repeats_a_key(fields[1]) THEN fields[1] END AS tags,
    coalesce(item ->> '$.mediaUri', item ->> '$.media_uri') AS media_uri,
    [found FOR found IN fields[2:] IF NOT repeats_a_key(found)] AS other_tags
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(export_id VARCHAR)',
    document_types := 'JSON'
) AS landed,
    LATERAL (
        SELECT unnest(CASE WHEN len(items) > 0 THEN items ELSE [NULL::JSON] END) AS item
        FROM (SELECT CASE
            WHEN json_type(document, '$.entities') = 'ARRAY' THEN json_extract(document, '$.entities[*]')
            WHEN json_type(document, '$.recordings') = 'ARRAY' THEN json_extract(document, '$.recordings[*]')
            WHEN json_type(document) = 'ARRAY' THEN json_extract(document, '$[*]')
            ELSE [document]
        END AS items)
    ),
    LATERAL (
        SELECT tag_fields(json_transform(item, '{
            "custom_data": "MAP(VARCHAR, VARCHAR)", "customData": "MAP(VARCHAR, VARCHAR)", "attributes": "MAP(VARCHAR, VARCHAR)"
        }')) AS fields
    )
