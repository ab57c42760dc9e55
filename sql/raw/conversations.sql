-- Conversations that were read one by one, from GET /api/v2/conversations/{id}. Attributes are whole and include those
-- that were set after the end of the conversation.
--
-- grain: partition_date, landing_id, key_conversation_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column key_conversation_id: conversation that the request named
-- column conversation_id: id in the document
-- column start_time: startTime (UTC)
-- column end_time: endTime (UTC); null while the conversation goes on
-- column division_ids: divisions of the conversation
-- column recording_state: recordingState
-- column participants [pii]: participants in the document's order, with their attributes
-- column people [pii]: external contacts, and addresses beside numbers, as written: a request for deletion may name them
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            WHEN list_bool_or(
                list_transform(
                    document.participants, lambda p: repeats_a_key(p.attributes)
                )
            ) THEN 'duplicate_key'
            -- A conversation always has participants: without them, that nobody set a tag is not known.
            WHEN document_state = 'ok'
                AND (
                    coalesce(len(document.participants), 0) = 0
                    OR list_contains([p IS NULL FOR p IN document.participants], true)
                )
                THEN 'wrong_shape'
            ELSE document_state
        END AS document_state
    ),
    k.conversation_id AS key_conversation_id,
    document.id AS conversation_id,
    utc_moment(document.startTime) AS start_time,
    utc_moment(document.endTime) AS end_time,
    list_transform(document.divisions, lambda d: d.division.id) AS division_ids,
    document.recordingState AS recording_state,
    list_transform(
        document.participants,
        lambda p: struct_pack(
            participant_id := p.id,
            purpose := p.purpose,
            user_id := p.userId,
            queue_id := p.queueId,
            queue_name := p.queueName,
            start_time := p.startTime,
            end_time := p.endTime,
            script_id := list_filter(
                list_transform(
                    list_concat(p.calls, p.callbacks, p.chats, p.emails, p.messages), lambda c: c.scriptId
                ),
                lambda script: script IS NOT NULL
            )[1],
            ani := p.ani,
            dnis := p.dnis,
            attributes := CASE
                WHEN repeats_a_key(p.attributes) THEN NULL
                ELSE p.attributes
            END
        )
    ) AS participants,
    list_distinct(flatten(list_transform(
        document.participants, lambda p: [p."address", p.externalContactId]
    ))) AS people
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(conversation_id VARCHAR)',
    document_types := 'STRUCT(
        id VARCHAR, startTime VARCHAR, endTime VARCHAR, recordingState VARCHAR,
        divisions STRUCT(division STRUCT(id VARCHAR))[],
        participants STRUCT(
            id VARCHAR, purpose VARCHAR, userId VARCHAR, queueId VARCHAR, queueName VARCHAR, startTime VARCHAR,
            endTime VARCHAR, ani VARCHAR, dnis VARCHAR, "address" VARCHAR, externalContactId VARCHAR, calls STRUCT(scriptId VARCHAR)[],
            callbacks STRUCT(scriptId VARCHAR)[], chats STRUCT(scriptId VARCHAR)[], emails STRUCT(scriptId VARCHAR)[],
            messages STRUCT(scriptId VARCHAR)[],
            attributes MAP(VARCHAR, VARCHAR)
        )[]
    )'
) AS landed
