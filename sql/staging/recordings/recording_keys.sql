-- Every recording that should exist: those that a source names by their id, those that only a recorded session or screen
-- shows, and those that only live capture shows.
--
-- A recorded session without a known recording gives a row `session:<id>`. The session id of a recording matches it to
-- a session first. Recordings without a session id (stubs of archived recordings, recordings whose metadata was not
-- read) are then counted against the remaining sessions, so that only a surplus of sessions gives rows. Audio and screens
-- are matched apart: a screen recording does not stand for lost audio, and neither does a snippet.
--
-- A participant whose screen was recorded, by the vendor's flag, and who has no screen recording gives a row
-- `screen:<participant id>`. A screen recording belongs to the participant of its session. If its session is unknown,
-- the recording is counted.
--
-- A captured conversation without any recording gives a row `capture:<conversation id>`. If the analytics job has the
-- conversation, its sessions decide instead, and custody.reconciliation counts the conversation.
--
-- staging.named_recordings has the recordings that a source names by their id, and says in which night they are.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation; empty if no source names one
-- column recording_id: recording, `session:<id>`, `screen:<participant id>` or `capture:<conversation id>`
-- column in_failures: an export job lists the recording as failed
-- column in_objects: the bucket has, or had, the media
-- column in_sidecars: the bucket has the sidecar
-- column in_metadata: the recording interface has the recording
-- column in_manifests: a manifest names the recording
-- column in_orphans: the vendor lists the recording as an orphan
-- column in_listed: the vendor's list of all recordings has the recording
-- column in_sessions: only the flag of a session or participant shows that the recording should exist
-- column in_captures: only live capture shows that the recording should exist
-- column is_gone: an earlier load named the recording, and no source names it now
-- column session_id: session of a row `session:<id>`; first session of the participant of a row `screen:<id>`
-- column kind: audio, screen, snippet (of the audio) or interaction (chat, message, e-mail)
WITH told_before AS (
    -- Kind and session of what is gone, as earlier loads told them.
    SELECT partition_date, recording_id, max(kind) AS kind, max(session_id) AS session_id
    FROM (
        SELECT partition_date, recording_id, session_id, stated_kind(media, media_subtype) AS kind
        FROM staging.recording_metadata
        WHERE NOT is_current
        UNION ALL
        SELECT partition_date, key_recording_id, NULL, stated_kind(media_type, media_subtype)
        FROM staging.export_sidecars
        WHERE NOT is_current
        UNION ALL
        SELECT partition_date, recording_id, NULL, kind_of_extension(media_extension)
        FROM staging.export_objects
        WHERE NOT is_current
    )
    SEMI JOIN (
        SELECT partition_date, recording_id FROM staging.named_recordings
        WHERE is_gone
    ) USING (partition_date, recording_id)
    GROUP BY partition_date, recording_id
),

with_kind AS (
    SELECT r.*, coalesce(m.session_id, b.session_id) AS named_session_id,
        coalesce(
            b.kind,
            stated_kind(m.media, m.media_subtype),
            CASE WHEN m.media_subtype IS NULL AND lower(d.media_subtype) = 'snippet' THEN 'snippet' END,
            CASE WHEN m.media IS NOT NULL THEN 'audio' END,
            stated_kind(d.media_type, d.media_subtype),
            kind_of_extension(lower(regexp_extract(o.object_uri, '\.(\w+)$', 1))),
            n.kind,
            'audio'
        ) AS kind
    FROM staging.named_recordings AS r
    LEFT JOIN told_before AS b ON b.partition_date = r.partition_date AND b.recording_id = r.recording_id
    LEFT JOIN staging.recording_metadata AS m
        ON m.is_latest AND m.partition_date = r.partition_date AND m.key_conversation_id = r.conversation_id
        AND m.recording_id = r.recording_id
    LEFT JOIN staging.media_objects AS o
        ON o.partition_date = r.partition_date AND o.conversation_id = r.conversation_id
        AND o.recording_id = r.recording_id
    LEFT JOIN staging.sidecar_objects AS d
        ON d.partition_date = r.partition_date AND d.conversation_id = r.conversation_id
        AND d.recording_id = r.recording_id AND NOT d.disagrees
    LEFT JOIN (
        SELECT partition_date, recording_id, max(stated_kind(media_type, NULL)) AS kind
        FROM staging.orphan_recordings
        WHERE is_current
        GROUP BY partition_date, recording_id
    ) AS n ON n.partition_date = r.partition_date AND n.recording_id = r.recording_id
),

with_session AS (
    SELECT k.* EXCLUDE (named_session_id),
        CASE
            WHEN k.kind <> 'screen' THEN k.named_session_id
            WHEN s.session_id IS NOT NULL THEN coalesce(s.screen_session_id, s.session_id)
        END AS named_session_id
    FROM with_kind AS k
    LEFT JOIN (
        SELECT partition_date, conversation_id, session_id, max(screen_session_id) AS screen_session_id
        FROM staging.sessions
        WHERE session_id IS NOT NULL
        GROUP BY partition_date, conversation_id, session_id
    ) AS s
        ON s.partition_date = k.partition_date AND s.conversation_id = k.conversation_id
        AND s.session_id = k.named_session_id
),

flagged AS (
    SELECT partition_date, conversation_id, 'session:' || session_id AS recording_id, session_id, peer_id, session_start, kind
    FROM staging.sessions
    WHERE is_recorded AND session_id IS NOT NULL
    UNION ALL
    SELECT partition_date, conversation_id, 'screen:' || coalesce(nullif(participant_id, ''), session_id), session_id, peer_id,
        session_start, 'screen'
    FROM staging.sessions
    WHERE screen_session_id = session_id
),

recorded AS (
    SELECT f.*
    FROM flagged AS f
    SEMI JOIN staging.conversation_details AS d
        ON d.partition_date = f.partition_date AND d.conversation_id = f.conversation_id AND d.is_current
    UNION ALL
    -- Another night may have a conversation that the job has no more for this one.
    SELECT f.*
    FROM flagged AS f
    ANTI JOIN staging.conversation_details AS d
        ON d.partition_date = f.partition_date AND d.conversation_id = f.conversation_id AND d.is_current
    ANTI JOIN staging.placed_ids AS p
        ON p.id = f.conversation_id AND p.is_placed AND p.partition_date <> f.partition_date
),

unmatched AS (
    -- Recorded sessions that no recording names, numbered from the latest start.
    SELECT s.partition_date, s.conversation_id, s.recording_id, s.session_id, s.kind,
        row_number() OVER (
            PARTITION BY s.partition_date, s.conversation_id, s.kind ORDER BY s.session_start DESC, s.session_id DESC
        ) AS position,
        count(*) OVER (PARTITION BY s.partition_date, s.conversation_id, s.kind) AS sessions
    FROM recorded AS s
    WHERE NOT EXISTS (
            SELECT 1 FROM with_session AS w
            WHERE w.partition_date = s.partition_date AND w.conversation_id = s.conversation_id AND w.kind = s.kind
                AND w.named_session_id = s.session_id
        )
        -- A recording may name the session at the other end, if nothing was recorded there by itself.
        AND NOT EXISTS (
            SELECT 1 FROM with_session AS w
            WHERE w.partition_date = s.partition_date AND w.conversation_id = s.conversation_id AND w.kind = s.kind
                AND w.named_session_id = s.peer_id
                AND NOT EXISTS (
                    SELECT 1 FROM recorded AS other
                    WHERE other.partition_date = s.partition_date AND other.conversation_id = s.conversation_id
                        AND other.session_id = s.peer_id AND other.kind = s.kind
                )
        )
),

uncounted AS (
    SELECT partition_date, conversation_id, kind, count(*) AS recordings
    FROM with_session
    WHERE named_session_id IS NULL
    GROUP BY partition_date, conversation_id, kind
),

captured AS (
    SELECT DISTINCT c.partition_date, c.conversation_id
    FROM staging.captures AS c
    ANTI JOIN staging.named_recordings AS r USING (partition_date, conversation_id)
    -- The sessions of the document show whether a recording is missing or none was made.
    ANTI JOIN staging.conversation_details AS d
        ON d.partition_date = c.partition_date AND d.conversation_id = c.conversation_id AND d.is_current
        AND d.document_state = 'ok'
    -- A capture that does not tell when the conversation began is filed under the day of its event.
    ANTI JOIN staging.placed_ids AS p
        ON p.id = c.conversation_id AND p.is_placed AND p.partition_date <> c.partition_date
    WHERE c.conversation_id IS NOT NULL
)

SELECT partition_date, conversation_id, recording_id, in_failures, in_objects, in_sidecars, in_metadata, in_manifests,
    in_orphans, in_listed, false AS in_sessions, in_captures, is_gone, NULL::VARCHAR AS session_id, kind
FROM with_session
UNION ALL
SELECT partition_date, conversation_id, 'capture:' || conversation_id, false, false, false, false, false, false, false, false,
    true, false, NULL, 'audio'
FROM captured
UNION ALL
SELECT u.partition_date, u.conversation_id, u.recording_id, false, false, false, false, false, false, false, true,
    false, false, u.session_id, u.kind
FROM unmatched AS u
LEFT JOIN uncounted AS c USING (partition_date, conversation_id, kind)
WHERE u.position <= u.sessions - coalesce(c.recordings, 0)
