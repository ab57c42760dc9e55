-- Recordings that the platform stores without a conversation, from GET /api/v2/orphanrecordings on the day of
-- collection.
--
-- grain: partition_date, landing_id, orphan_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column orphan_id: orphan
-- column conversation_id: conversation, once the orphan is recovered
-- column recording_id: recording, once the orphan is recovered
-- column media_type: CALL, CHAT, EMAIL or SCREEN
-- column provider: providerType
-- column orphan_status: NO_CONVERSATION, UNKNOWN_CONVERSATION, CONVERSATION_NOT_COMPLETE and so on
-- column created_time: when the platform found the orphan (UTC)
-- column start_time: startTime of the recording, as written
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            WHEN document_state = 'ok' AND coalesce(given(document.recording.id), given(document.id), k.id) IS NULL
                THEN 'wrong_shape'
            ELSE document_state
        END AS document_state
    ),
    coalesce(given(document.id), given(k.id)) AS orphan_id,
    coalesce(given(document.recording.conversationId), given(document.conversationId)) AS conversation_id,
    given(document.recording.id) AS recording_id,
    document.mediaType AS media_type,
    document.providerType AS provider,
    document.orphanStatus AS orphan_status,
    utc_moment(document.createdTime) AS created_time,
    document.recording.startTime AS start_time
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(id VARCHAR)',
    document_types := 'STRUCT(
        id VARCHAR, conversationId VARCHAR, mediaType VARCHAR, providerType VARCHAR, orphanStatus VARCHAR,
        createdTime VARCHAR, recording STRUCT(id VARCHAR, conversationId VARCHAR, startTime VARCHAR)
    )'
) AS landed
