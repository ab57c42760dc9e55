-- Sessions of the night's conversations from the bulk analytics job, with participant, queues, script and flow, and
-- whether the session was recorded. A session that an earlier load flagged as recorded stays so.
--
-- materialized: window
-- grain: partition_date, conversation_id, participant_id, session_id, place
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column participant_id: participant
-- column purpose: agent, customer, ivr, acd…
-- column user_id: user of an agent
-- column screen_session_id: the session that stands for the recording of the participant's screen; null if the vendor does not say that the screen was recorded
-- column session_id: session
-- column peer_id: session at the other end
-- column ani [pii]: the caller's number
-- column dnis [pii]: the number called
-- column edge_id: edge that carried the session
-- column script_id: script that the agent saw
-- column is_recorded: true if the vendor says that the session was recorded
-- column only_rang: true for an agent who was alerted and did not answer
-- column kind: kind of a recording of this session: audio or screen
-- column session_start: start of the session's first segment (UTC)
-- column place: for a session without an id, its position and its participant's in the document; null for others
-- column queue_ids: queues of the session's segments
-- column flow_id: Architect flow
-- column flow_name: name of the flow
-- column flow_version: version of the flow
WITH earlier AS (
    -- Documents of earlier loads that the newest one does not repeat. Each content is read once.
    SELECT partition_date, conversation_id, document_sha256, min(landing_id) AS landing_id
    FROM staging.conversation_details
    ANTI JOIN (
        SELECT partition_date, conversation_id, document_sha256 FROM staging.conversation_details
        WHERE is_current
    ) USING (partition_date, conversation_id, document_sha256)
    WHERE document_state = 'ok'
    GROUP BY partition_date, conversation_id, document_sha256
),

documents AS (
    SELECT partition_date, conversation_id, document_sha256, screen_recorded, participants, false AS is_before
    FROM staging.conversation_details
    WHERE is_current AND document_state = 'ok'
    UNION ALL
    SELECT partition_date, conversation_id, document_sha256, screen_recorded, participants, true
    FROM staging.conversation_details
    SEMI JOIN earlier USING (partition_date, conversation_id, document_sha256, landing_id)
),

participants AS (
    SELECT partition_date, conversation_id, document_sha256, is_before, screen_recorded, unnest(participants) AS p,
        generate_subscripts(participants, 1) AS position
    FROM documents
),

sessions AS (
    SELECT partition_date, conversation_id, document_sha256, is_before,
        coalesce(p.participant_id, '') AS participant_id, lower(p.purpose) AS purpose,
        p.user_id AS user_id,
        -- The flag of a participant names no session. A recorded session of a shared screen is counted by itself.
        CASE
            WHEN list_contains(screen_recorded, coalesce(p.participant_id, ''))
                AND NOT list_bool_or([coalesce(s.recording AND lower(s.media_type) = 'screenshare', false) FOR s IN p.sessions])
                THEN list_sort([
                    {
                        'has_no_id': s.session_id IS NULL,
                        'is_other': lower(s.media_type) IS DISTINCT FROM 'screenshare',
                        'starts': list_min([segment.segment_start FOR segment IN s.segments]),
                        'session_id': s.session_id
                    } FOR s IN p.sessions
                ])[1].session_id
        END AS screen_session_id,
        unnest(p.sessions) AS s,
        [position, generate_subscripts(p.sessions, 1)] AS position
    FROM participants
),

flat AS (
    SELECT
        partition_date,
        conversation_id,
        document_sha256,
        is_before,
        participant_id,
        purpose,
        user_id,
        screen_session_id,
        s.session_id AS session_id,
        s.peer_id AS peer_id,
        s.ani AS ani,
        s.dnis AS dnis,
        s.edge_id AS edge_id,
        s.script_id AS script_id,
        coalesce(s.recording, false) AS is_recorded,
        coalesce(list_bool_and([
            coalesce(lower(segment.segment_type) IN ('alert', 'wrapup'), false) FOR segment IN s.segments
        ]), false) AS only_rang,
        CASE WHEN lower(s.media_type) = 'screenshare' THEN 'screen' ELSE 'audio' END AS kind,
        list_min([segment.segment_start FOR segment IN s.segments]) AS session_start,
        CASE WHEN s.session_id IS NULL THEN position END AS place,
        list_sort(list_distinct([segment.queue_id FOR segment IN s.segments IF segment.queue_id IS NOT NULL])) AS queue_ids,
        s.flow.flow_id AS flow_id,
        s.flow.flow_name AS flow_name,
        s.flow.flow_version AS flow_version
    FROM sessions
),

known AS (
    -- Of earlier documents, only what they flag. A session has one participant.
    SELECT * FROM flat
    QUALIFY NOT is_before
        OR (
            session_id IS NOT NULL AND (is_recorded OR coalesce(screen_session_id = session_id, false))
            AND participant_id = first_value(participant_id) OVER (
                PARTITION BY partition_date, conversation_id, session_id ORDER BY is_before, participant_id
            )
        )
)

-- A job may have a conversation twice, with different documents. What one of them flags was recorded.
SELECT * EXCLUDE (document_sha256, is_before) REPLACE (
    bool_or(is_recorded) OVER one_session AS is_recorded,
    min(screen_session_id) OVER one_participant AS screen_session_id
)
FROM known
WINDOW one_session AS (PARTITION BY partition_date, conversation_id, participant_id, session_id, place),
    -- Participants without an id may be several.
    one_participant AS (
        PARTITION BY partition_date, conversation_id, participant_id, CASE WHEN participant_id = '' THEN screen_session_id END
    )
QUALIFY row_number() OVER (one_session ORDER BY is_before, session_start, document_sha256) = 1
