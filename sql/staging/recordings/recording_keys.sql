-- Every recording that any source names, with the sources that name it: export jobs, the bucket, sidecars, the
-- recording interface, the list of all recordings, manifests, orphan lists, sessions and live capture.
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
-- A recording has a row in one night. Lists of failed, exported and orphaned recordings and the list of all recordings
-- name recordings of any night. Of these, a night has the recordings that its own sources know: the bucket's folders or
-- the analytics job. A recording that no night's own sources know is in the night in which its conversation started, if
-- the conversation was read by itself, else in the night of its own time, where a list says that, else in the first night
-- that a list named it. The same holds for the metadata of a conversation that was read because such a list names it.
--
-- A recording keeps its row if only an earlier load of the night named it.
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
WITH named_by_lists AS (
    SELECT partition_date, conversation_id, recording_id, 'failures' AS origin, NULL::DATE AS own_night
    FROM staging.export_failures
    WHERE is_current
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, 'manifests', NULL
    FROM staging.export_manifests
    WHERE is_current
    UNION ALL
    SELECT partition_date, conversation_id, coalesce(recording_id, 'orphan:' || orphan_id), 'orphans', own_night
    FROM staging.orphan_recordings
    WHERE is_current
    UNION ALL
    SELECT partition_date, key_conversation_id, recording_id, 'metadata', NULL
    FROM staging.recording_metadata
    WHERE is_current AND recording_id IS NOT NULL
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, 'listed', creation_time::DATE
    FROM staging.listed_recordings
    WHERE is_current AND recording_id IS NOT NULL
    UNION ALL
    -- What earlier loads named.
    SELECT DISTINCT partition_date, conversation_id, recording_id, 'before', NULL::DATE
    FROM staging.export_failures
    WHERE NOT is_current
    UNION ALL
    SELECT DISTINCT partition_date, conversation_id, recording_id, 'before', NULL
    FROM staging.export_manifests
    WHERE NOT is_current
    UNION ALL
    SELECT DISTINCT partition_date, key_conversation_id, recording_id, 'before', NULL
    FROM staging.recording_metadata
    WHERE NOT is_current AND recording_id IS NOT NULL
    UNION ALL
    SELECT DISTINCT partition_date, conversation_id, recording_id, 'before', creation_time::DATE
    FROM staging.listed_recordings
    WHERE NOT is_current AND recording_id IS NOT NULL
),

listed AS (
    SELECT t.* EXCLUDE (own_night), coalesce(c.own_night, t.own_night) AS own_night
    FROM named_by_lists AS t
    LEFT JOIN (
        -- A start that an earlier load read stays true.
        SELECT partition_date, key_conversation_id AS conversation_id, min(start_time)::DATE AS own_night
        FROM staging.conversations
        GROUP BY partition_date, key_conversation_id
    ) AS c USING (partition_date, conversation_id)
),

listed_ids AS (
    SELECT DISTINCT partition_date, recording_id, unnest(list_distinct([recording_id, conversation_id])) AS id
    FROM listed
),

placed_here AS (
    SELECT DISTINCT l.partition_date, l.recording_id
    FROM listed_ids AS l
    INNER JOIN staging.placed_ids AS p ON p.partition_date = l.partition_date AND p.id = l.id AND p.is_placed
),

placed_elsewhere AS (
    -- Reads every night, but only if something is listed that this night does not know.
    SELECT l.partition_date, l.recording_id, bool_or(p.is_placed) AS is_elsewhere,
        min(p.partition_date) FILTER (NOT p.is_placed) AS first_night
    FROM (SELECT * FROM listed_ids ANTI JOIN placed_here USING (partition_date, recording_id)) AS l
    INNER JOIN staging.placed_ids AS p USING (id)
    GROUP BY l.partition_date, l.recording_id
),

named AS (
    SELECT l.partition_date, l.conversation_id, l.recording_id, l.origin
    FROM (
        SELECT *,
            coalesce(min(own_night) FILTER (origin <> 'before') OVER recording, min(own_night) OVER recording)
                AS recordings_night
        FROM listed
        WINDOW recording AS (PARTITION BY partition_date, recording_id)
    ) AS l
    LEFT JOIN placed_here AS h USING (partition_date, recording_id)
    LEFT JOIN placed_elsewhere AS k USING (partition_date, recording_id)
    WHERE h.recording_id IS NOT NULL
        OR (
            NOT coalesce(k.is_elsewhere, false)
            AND coalesce(l.recordings_night, k.first_night, l.partition_date) = l.partition_date
        )
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, 'objects'
    FROM staging.media_objects
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, 'sidecars'
    FROM staging.sidecar_objects
    UNION ALL
    SELECT DISTINCT partition_date, conversation_id, recording_id, 'events'
    FROM staging.conversation_events
    WHERE recording_id IS NOT NULL
    UNION ALL
    SELECT partition_date, conversation_id, recording_id,
        CASE WHEN bool_or(object_role = 'media') THEN 'objects_before' ELSE 'before' END
    FROM staging.export_objects
    WHERE NOT is_current AND object_role IN ('media', 'sidecar') AND key_finding IS NULL AND NOT is_delete_marker
    GROUP BY partition_date, conversation_id, recording_id
),

named_or_gone AS (
    -- What an earlier load named counts if nothing names it now, whatever its conversation, and no other night has it.
    SELECT * FROM named
    WHERE origin NOT IN ('before', 'objects_before')
    UNION ALL
    SELECT b.*
    FROM named AS b
    ANTI JOIN named AS n
        ON n.partition_date = b.partition_date AND lower(n.recording_id) = lower(b.recording_id)
        AND n.origin NOT IN ('before', 'objects_before')
    ANTI JOIN staging.placed_ids AS p ON p.id = b.recording_id AND p.is_placed AND p.partition_date <> b.partition_date
    WHERE b.origin IN ('before', 'objects_before')
    UNION ALL
    -- That the bucket had it counts also if something names it still.
    SELECT b.*
    FROM named AS b
    SEMI JOIN named AS n
        ON n.partition_date = b.partition_date AND n.conversation_id = b.conversation_id AND n.recording_id = b.recording_id
        AND n.origin NOT IN ('before', 'objects_before')
    WHERE b.origin = 'objects_before'
),

recordings AS (
    SELECT partition_date, coalesce(conversation_id, '') AS conversation_id, recording_id,
        bool_or(origin = 'failures') AS in_failures, bool_or(origin IN ('objects', 'objects_before')) AS in_objects,
        bool_or(origin = 'sidecars') AS in_sidecars, bool_or(origin = 'metadata') AS in_metadata,
        bool_or(origin = 'manifests') AS in_manifests, bool_or(origin = 'orphans') AS in_orphans,
        bool_or(origin = 'listed') AS in_listed, bool_and(origin = 'events') AS in_captures,
        bool_and(origin IN ('before', 'objects_before')) AS is_gone
    FROM named_or_gone
    WHERE recording_id IS NOT NULL
    GROUP BY partition_date, coalesce(conversation_id, ''), recording_id
),

told_before AS (
    -- Kind and session of what is gone, as earlier loads told them.
    SELECT partition_date, recording_id, max(kind) AS kind, max(session_id) AS session_id
    FROM (
        SELECT partition_date, recording_id, session_id, CASE
                WHEN 'screen' IN (lower(media), lower(media_subtype)) THEN 'screen'
                WHEN lower(media) IN ('chat', 'email', 'message') THEN 'interaction'
                WHEN lower(media_subtype) = 'snippet' THEN 'snippet'
            END AS kind
        FROM staging.recording_metadata
        WHERE NOT is_current
        UNION ALL
        SELECT partition_date, key_recording_id, NULL, CASE
                WHEN 'screen' IN (lower(media_type), lower(media_subtype)) THEN 'screen'
                WHEN lower(media_type) IN ('chat', 'email', 'message') THEN 'interaction'
                WHEN lower(media_subtype) = 'snippet' THEN 'snippet'
            END
        FROM staging.export_sidecars
        WHERE NOT is_current
        UNION ALL
        SELECT partition_date, recording_id, NULL, CASE
                WHEN media_extension IN ('webm', 'mp4') THEN 'screen'
                WHEN media_extension IN ('zip', 'eml') THEN 'interaction'
            END
        FROM staging.export_objects
        WHERE NOT is_current
    )
    SEMI JOIN (
        SELECT partition_date, recording_id FROM recordings
        WHERE is_gone
    ) USING (partition_date, recording_id)
    GROUP BY partition_date, recording_id
),

with_kind AS (
    SELECT r.*, coalesce(m.session_id, b.session_id) AS named_session_id,
        CASE
            WHEN b.kind IS NOT NULL THEN b.kind
            WHEN 'screen' IN (lower(m.media), lower(m.media_subtype)) THEN 'screen'
            WHEN lower(m.media) IN ('chat', 'email', 'message') THEN 'interaction'
            WHEN lower(coalesce(m.media_subtype, d.media_subtype)) = 'snippet' THEN 'snippet'
            WHEN m.media IS NOT NULL THEN 'audio'
            WHEN 'screen' IN (lower(d.media_type), lower(d.media_subtype)) THEN 'screen'
            WHEN lower(d.media_type) IN ('chat', 'email', 'message') THEN 'interaction'
            WHEN regexp_matches(o.object_uri, '\.(webm|mp4)$', 'i') THEN 'screen'
            WHEN regexp_matches(o.object_uri, '\.(zip|eml)$', 'i') THEN 'interaction'
            ELSE 'audio'
        END AS kind
    FROM recordings AS r
    LEFT JOIN told_before AS b ON b.partition_date = r.partition_date AND b.recording_id = r.recording_id
    LEFT JOIN (
        SELECT * FROM staging.recording_metadata
        WHERE is_current
        QUALIFY row_number() OVER (
            PARTITION BY partition_date, key_conversation_id, recording_id
            ORDER BY exported_date DESC NULLS LAST, document_sha256
        ) = 1
    ) AS m
        ON m.partition_date = r.partition_date AND m.key_conversation_id = r.conversation_id
        AND m.recording_id = r.recording_id
    LEFT JOIN staging.media_objects AS o
        ON o.partition_date = r.partition_date AND o.conversation_id = r.conversation_id
        AND o.recording_id = r.recording_id
    LEFT JOIN staging.sidecar_objects AS d
        ON d.partition_date = r.partition_date AND d.conversation_id = r.conversation_id
        AND d.recording_id = r.recording_id
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
    ANTI JOIN recordings AS r USING (partition_date, conversation_id)
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
