-- Typed custom attributes from GET /api/v2/conversations/{id}/customattributes, one row per attribute. A conversation
-- without an attribute has one row with attribute_key null. The attributes belong to the conversation, not to a
-- participant.
--
-- grain: partition_date, landing_id, key_conversation_id, attribute_record_id, attribute_key
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column key_conversation_id: conversation that the request named
-- column conversation_id: conversationId of the record
-- column participant_id: always null: the platform stores these attributes per conversation
-- column attribute_record_id: id of the record; a conversation has one record per schema
-- column attribute_key: name of the attribute
-- column attribute_value [pii]: value of the attribute as text; JSON text for lists and objects
-- column attribute_type: JSON type of the value
-- column attribute_version: version of the record
-- column created_at: dateCreated of the record (UTC)
-- column modified_at: when the attribute was set, else dateModified of the record (UTC)
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            WHEN list_bool_or(
                list_transform(
                    document.results,
                    lambda r: repeats_a_key(r.customAttributes)
                )
            ) THEN 'duplicate_key'
            -- The vendor leaves out an empty list. An error in its place is none.
            WHEN document_state = 'ok' AND document.results IS NULL
                AND (document IS NULL OR coalesce(document."message", document.code) IS NOT NULL)
                THEN 'wrong_shape'
            ELSE document_state
        END AS document_state
    ),
    k.conversation_id AS key_conversation_id,
    record.conversationId AS conversation_id,
    NULL::VARCHAR AS participant_id,
    record.id AS attribute_record_id,
    attribute."key" AS attribute_key,
    as_written(attribute."value") AS attribute_value,
    CASE
        WHEN starts_with(attribute."value" ->> '$', chr(1) || '#') THEN json_type(as_written(attribute."value"))
        ELSE json_type(attribute."value")
    END AS attribute_type,
    record."version" AS attribute_version,
    utc_moment(record.dateCreated) AS created_at,
    coalesce(
        utc_moment(record.customAttributesTimestamps[attribute."key"]),
        utc_moment(record.dateModified)
    ) AS modified_at
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(conversation_id VARCHAR)',
    document_types := 'STRUCT(
        "message" JSON, code JSON,
        results STRUCT(
            id VARCHAR, conversationId VARCHAR, "version" VARCHAR, dateCreated VARCHAR, dateModified VARCHAR,
            customAttributes MAP(VARCHAR, JSON), customAttributesTimestamps MAP(VARCHAR, VARCHAR)
        )[]
    )'
) AS landed,
    LATERAL (
        SELECT unnest(CASE WHEN len(document.results) > 0 THEN document.results ELSE [NULL] END) AS record
    ),
    LATERAL (
        SELECT unnest(
            CASE
                WHEN cardinality(record.customAttributes) > 0
                    AND NOT repeats_a_key(record.customAttributes)
                    THEN map_entries(record.customAttributes)
                ELSE [NULL]
            END
        ) AS attribute
    )
