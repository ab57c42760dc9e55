-- Recordings that the platform holds without a conversation, as GET /api/v2/orphanrecordings lists them on the day
-- of collection.
--
-- grain: partition_date, landing_id, orphan_id
-- column partition_date: UTC day of conversation start that this row was collected for
-- column landing_id: the load it came with; current when the newest receipt of its resource names it
-- column source_uri: where it was read: API path, object, or capture document
-- column fetched_at: when it was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold these bytes
-- column document_state: ok, or why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document as received
-- column orphan_id: id of the orphan
-- column conversation_id: conversation, once it was recovered
-- column recording_id: recording, once it was recovered
-- column media_type: Call, Chat, Email, Message, Screen
-- column provider: providerType
-- column orphan_status: NO_CONVERSATION, UNKNOWN_CONVERSATION, CONVERSATION_NOT_COMPLETE and so on
-- column created_time: when it was found (UTC)
-- column start_time: startTime of the recording as written
SELECT
    landed.* EXCLUDE (k, document),
    coalesce(document.id, k.id) AS orphan_id,
    coalesce(document.recording.conversationId, document.conversationId) AS conversation_id,
    document.recording.id AS recording_id,
    document.mediaType AS media_type,
    document.providerType AS provider,
    document.orphanStatus AS orphan_status,
    try_cast(document.createdTime AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS created_time,
    document.recording.startTime AS start_time
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(id VARCHAR)',
    document_types := 'STRUCT(
        id VARCHAR, conversationId VARCHAR, mediaType VARCHAR, providerType VARCHAR, orphanStatus VARCHAR,
        createdTime VARCHAR, recording STRUCT(id VARCHAR, conversationId VARCHAR, startTime VARCHAR)
    )'
) AS landed
