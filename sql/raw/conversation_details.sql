-- Conversations of the night from the bulk analytics job. The job cuts keys and values at 1,024 characters and leaves
-- out attributes that were set after the end of the conversation.
--
-- grain: partition_date, landing_id, conversation_id, document_sha256
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column page_sha256: SHA-256 of the result page that held the document
-- column job_id: analytics job
-- column conversation_id: conversation
-- column conversation_start: conversationStart (UTC)
-- column conversation_end: conversationEnd (UTC); null while the conversation goes on
-- column division_ids: divisions of the conversation
-- column originating_direction: inbound or outbound
-- column screen_recorded: participants whose screen was recorded, by the vendor's flag screenRecording
-- column participants [pii]: participants in the document's order, with attributes, sessions, segments and flows; segment times UTC
-- column people [pii]: external contacts, and addresses beside numbers, as written: a request for deletion may name them
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            WHEN list_bool_or(
                list_transform(
                    document.participants, lambda p: repeats_a_key(p.attributes)
                )
            ) THEN 'duplicate_key'
            -- A conversation has participants, and these have sessions: without them, what was recorded is not known. The
            -- recording of a screen needs a session with an id.
            WHEN document_state = 'ok'
                AND (
                    coalesce(len(document.participants), 0) = 0
                    OR coalesce(given(document.conversationId), given(k.conversation_id)) IS NULL
                    OR list_bool_or(list_transform(
                        document.participants,
                        lambda p: p.sessions IS NULL
                            OR len(list_filter(p.sessions, lambda s: s IS NULL)) > 0
                            OR (
                                coalesce(p.screenRecording, false)
                                AND NOT coalesce(
                                    list_bool_or(list_transform(p.sessions, lambda s: given(s.sessionId) IS NOT NULL)), false
                                )
                            )
                    ))
                )
                THEN 'wrong_shape'
            ELSE document_state
        END AS document_state
    ),
    k.page_sha256,
    k.job_id,
    coalesce(given(document.conversationId), given(k.conversation_id), '') AS conversation_id,
    utc_moment(document.conversationStart) AS conversation_start,
    utc_moment(document.conversationEnd) AS conversation_end,
    document.divisionIds AS division_ids,
    document.originatingDirection AS originating_direction,
    list_transform(
        list_filter(document.participants, lambda p: p.screenRecording), lambda p: coalesce(p.participantId, '')
    ) AS screen_recorded,
    list_transform(
        document.participants,
        lambda p: struct_pack(
            participant_id := p.participantId,
            purpose := p.purpose,
            user_id := p.userId,
            participant_name := p.participantName,
            attributes := CASE
                WHEN repeats_a_key(p.attributes) THEN NULL
                ELSE p.attributes
            END,
            sessions := list_transform(
                p.sessions,
                lambda s: struct_pack(
                    session_id := given(s.sessionId),
                    peer_id := given(s.peerId),
                    media_type := s.mediaType,
                    direction := s.direction,
                    ani := s.ani,
                    dnis := s.dnis,
                    script_id := s.scriptId,
                    edge_id := s.edgeId,
                    recording := s.recording,
                    segments := list_transform(
                        s.segments,
                        lambda g: struct_pack(
                            segment_start := utc_moment(g.segmentStart),
                            segment_end := utc_moment(g.segmentEnd),
                            segment_type := g.segmentType,
                            queue_id := g.queueId,
                            wrap_up_code := g.wrapUpCode,
                            disconnect_type := g.disconnectType
                        )
                    ),
                    flow := CASE
                        WHEN s.flow IS NOT NULL
                            THEN struct_pack(
                                flow_id := s.flow.flowId,
                                flow_name := s.flow.flowName,
                                flow_type := s.flow.flowType,
                                flow_version := s.flow.flowVersion,
                                exit_reason := s.flow.exitReason
                            )
                    END
                )
            )
        )
    ) AS participants,
    list_distinct(list_concat(
        list_transform(document.participants, lambda p: p.externalContactId),
        flatten(flatten(list_transform(
            document.participants,
            lambda p: list_transform(
                p.sessions, lambda s: [s.addressFrom, s.addressTo, s.addressSelf, s.addressOther]
            )
        )))
    )) AS people
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(page_sha256 VARCHAR, job_id VARCHAR, conversation_id VARCHAR)',
    document_types := 'STRUCT(
        conversationId VARCHAR, conversationStart VARCHAR, conversationEnd VARCHAR, divisionIds VARCHAR[],
        originatingDirection VARCHAR,
        participants STRUCT(
            participantId VARCHAR, purpose VARCHAR, userId VARCHAR, participantName VARCHAR,
            screenRecording BOOLEAN, externalContactId VARCHAR, attributes MAP(VARCHAR, VARCHAR),
            sessions STRUCT(
                sessionId VARCHAR, peerId VARCHAR, mediaType VARCHAR, direction VARCHAR, ani VARCHAR, dnis VARCHAR,
                scriptId VARCHAR, edgeId VARCHAR, recording BOOLEAN,
                addressFrom VARCHAR, addressTo VARCHAR, addressSelf VARCHAR, addressOther VARCHAR,
                segments STRUCT(
                    segmentStart VARCHAR, segmentEnd VARCHAR, segmentType VARCHAR, queueId VARCHAR,
                    wrapUpCode VARCHAR, disconnectType VARCHAR
                )[],
                flow STRUCT(
                    flowId VARCHAR, flowName VARCHAR, flowType VARCHAR, flowVersion VARCHAR, exitReason VARCHAR
                )
            )[]
        )[]
    )'
) AS landed
