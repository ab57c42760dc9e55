-- Conversations whose recording metadata the night has to read one by one. The read is needed if the bucket and the
-- analytics job disagree on the number of recordings of a kind, if several recordings may be of one session, if no flag says
-- whether there is one, or if an object or its sidecar is odd.
--
-- With `$read_all`, every conversation that any source names is read.
--
-- grain: conversation_id
-- column conversation_id: conversation to read
-- column reasons: reasons for the read: not_in_details, count_differs, one_session, no_flag, no_sidecar, odd_sidecar, empty_object, several_objects, failed_export, announced, listed, read_before, flagged_before, all
WITH current AS (
    SELECT partition_date, landing_id
    FROM raw.extraction_receipts
    WHERE receipt_state IN ('complete', 'partial')
    QUALIFY row_number() OVER (PARTITION BY partition_date, resource ORDER BY "sequence" DESC NULLS LAST, landing_id DESC) = 1
),

versions AS (
    SELECT o.*, o.is_latest AND NOT o.is_delete_marker AND o.object_bytes > 0 AS is_live
    FROM raw.export_objects AS o
    SEMI JOIN current USING (partition_date, landing_id)
    WHERE o.object_role = 'media' AND o.conversation_id IS NOT NULL
),

sidecars AS (
    SELECT
        bucket,
        key_conversation_id AS conversation_id,
        key_recording_id AS recording_id,
        bool_and(
            document_state = 'ok'
            AND lower(conversation_id) IS NOT DISTINCT FROM lower(key_conversation_id)
            AND lower(recording_id) IS NOT DISTINCT FROM lower(key_recording_id)
            AND starts IS NOT NULL
            AND ends IS NOT NULL
            AND starts <= ends
            AND ends <= fetched_at
        ) AS is_plain,
        any_value(list_sort(user_ids)) AS agents,
        bool_or(stated_kind(media_type, media_subtype) = 'screen') AS is_screen,
        bool_or(stated_kind(media_type, media_subtype) = 'snippet') AS is_snippet,
        min(starts) AS starts,
        max(starts) AS starts_last
    FROM (
        SELECT
            s.*,
            -- A time without a zone stays null, and its sidecar is odd.
            CASE WHEN names_zone(start_time) THEN utc_moment(start_time) END AS starts,
            CASE WHEN names_zone(end_time) THEN utc_moment(end_time) END AS ends
        FROM raw.export_sidecars AS s
        SEMI JOIN current USING (partition_date, landing_id)
    )
    GROUP BY bucket, key_conversation_id, key_recording_id
),

recordings AS (
    SELECT
        v.conversation_id,
        v.recording_id,
        bool_or(v.is_live) AS is_live,
        coalesce(bool_or(kind_of_extension(v.media_extension) = 'screen' OR s.is_screen), false) AS is_screen,
        coalesce(bool_or(s.is_snippet), false) AS is_snippet,
        any_value(s.agents) AS agents,
        bool_or(v.object_bytes = 0) AS has_empty,
        count(*) > 1 AS is_several,
        bool_or(s.recording_id IS NULL) AS lacks_sidecar,
        bool_or(
            s.recording_id IS NOT NULL
            AND (NOT s.is_plain OR s.starts < v.path_date + to_hours(v.path_hour::BIGINT))
        ) AS has_odd_sidecar,
        -- The hour in the key is the conversation's. A later leg may begin in the next hour.
        max(s.starts_last) FILTER (s.starts_last >= v.path_date + to_hours(v.path_hour::BIGINT + 1)) AS starts_after_hour
    FROM versions AS v
    LEFT JOIN sidecars AS s
        ON s.bucket = v.bucket AND s.conversation_id = v.conversation_id AND s.recording_id = v.recording_id
    GROUP BY v.conversation_id, v.recording_id
),

exported AS (
    SELECT
        conversation_id,
        count(*) FILTER (is_live AND NOT is_screen AND NOT is_snippet) AS live,
        count(*) FILTER (is_live AND is_screen) AS live_screens,
        -- Recordings of different agents are of different sessions.
        count(*) FILTER (is_live) > 1
        AND count(*) FILTER (is_live)
            > count(DISTINCT {'is_screen': is_screen, 'agents': agents}) FILTER (is_live AND len(agents) > 0)
            AS may_be_one_session,
        bool_or(has_empty) AS has_empty,
        bool_or(is_several) AS is_several,
        bool_or(lacks_sidecar) AS lacks_sidecar,
        bool_or(has_odd_sidecar) AS has_odd_sidecar,
        max(starts_after_hour) AS starts_after_hour
    FROM recordings
    GROUP BY conversation_id
),

details AS (
    SELECT
        conversation_id,
        min(conversation_end) AS conversation_end,
        bool_or(document_state <> 'ok') AS is_unreadable,
        max(flagged_calls(sessions)) AS recorded,
        max(flagged_screens(sessions, screen_recorded)) AS recorded_screens,
        -- No flag says whether a chat, a message or an e-mail was recorded; calls have flags.
        bool_or(len(list_filter(
            sessions,
            lambda s: coalesce(lower(s.media_type), '') NOT IN ('voice', 'callback', 'screenshare', 'cobrowse')
        )) > 0) AS has_no_flag
    FROM (
        SELECT *, flatten(list_transform(participants, lambda p: p.sessions)) AS sessions
        FROM raw.conversation_details
        SEMI JOIN current USING (partition_date, landing_id)
        WHERE conversation_id IS NOT NULL
    )
    GROUP BY conversation_id
),

failed AS (
    SELECT DISTINCT conversation_id
    FROM raw.export_failures
    SEMI JOIN current USING (partition_date, landing_id)
    -- A job lists the failures of its whole interval. Only the night's conversations are read.
    WHERE conversation_id IN (SELECT conversation_id FROM details)
        OR conversation_id IN (SELECT conversation_id FROM exported)
),

manifests AS (
    SELECT DISTINCT conversation_id
    FROM raw.export_manifests
    SEMI JOIN current USING (partition_date, landing_id)
    WHERE conversation_id IS NOT NULL
),

captured AS (
    SELECT DISTINCT conversation_id
    FROM raw.captures
    SEMI JOIN current USING (partition_date, landing_id)
    WHERE conversation_id IS NOT NULL
),

announced AS (
    -- An event names a recording, and the bucket does not have it.
    SELECT DISTINCT e.conversation_id
    FROM raw.conversation_events AS e
    SEMI JOIN current USING (partition_date, landing_id)
    ANTI JOIN recordings AS r ON r.conversation_id = e.conversation_id AND r.recording_id = e.recording_id
    WHERE e.conversation_id IS NOT NULL AND e.recording_id IS NOT NULL
),

listed AS (
    -- The list of all recordings has a recording, and the bucket does not have it.
    SELECT DISTINCT l.conversation_id
    FROM raw.listed_recordings AS l
    SEMI JOIN current USING (partition_date, landing_id)
    ANTI JOIN recordings AS r
        ON r.is_live AND r.conversation_id = l.conversation_id AND r.recording_id = l.recording_id
    WHERE l.conversation_id IS NOT NULL
),

read_before AS (
    -- What an earlier load named, and the bucket does not have, is asked for again: it may be gone.
    SELECT DISTINCT m.conversation_id
    FROM (
        SELECT partition_date, landing_id, key_conversation_id AS conversation_id, recording_id FROM raw.recording_metadata
        UNION ALL
        SELECT *
        FROM (
            SELECT partition_date, landing_id, conversation_id, recording_id FROM raw.listed_recordings
            UNION ALL
            SELECT partition_date, landing_id, conversation_id, recording_id FROM raw.export_manifests
            UNION ALL
            SELECT partition_date, landing_id, conversation_id, recording_id
            FROM raw.export_objects
            WHERE object_role = 'media'
            UNION ALL
            SELECT partition_date, landing_id, conversation_id, recording_id
            FROM raw.export_failures
            WHERE conversation_id IN (SELECT conversation_id FROM details)
                OR conversation_id IN (SELECT conversation_id FROM exported)
        )
        ANTI JOIN current USING (partition_date, landing_id)
    ) AS m
    INNER JOIN raw.extraction_receipts AS a USING (partition_date, landing_id)
    ANTI JOIN recordings AS r
        ON r.is_live AND r.conversation_id = m.conversation_id AND r.recording_id = m.recording_id
    WHERE a.receipt_state IN ('complete', 'partial') AND m.recording_id IS NOT NULL AND m.conversation_id IS NOT NULL
),

flagged_before AS (
    -- An earlier document of the job flags more recordings than the newest one.
    SELECT b.conversation_id
    FROM (
        SELECT conversation_id, flagged_calls(sessions) + flagged_screens(sessions, screen_recorded) AS flags
        FROM (
            SELECT *, flatten(list_transform(participants, lambda p: p.sessions)) AS sessions
            FROM raw.conversation_details
            ANTI JOIN current USING (partition_date, landing_id)
            WHERE conversation_id <> '' AND document_state = 'ok'
        )
        INNER JOIN raw.extraction_receipts AS a USING (partition_date, landing_id)
        WHERE a.receipt_state IN ('complete', 'partial')
    ) AS b
    LEFT JOIN details AS d USING (conversation_id)
    GROUP BY b.conversation_id
    HAVING max(b.flags) > max(coalesce(d.recorded, 0) + coalesce(d.recorded_screens, 0))
),

known_conversations AS (
    SELECT conversation_id FROM exported
    UNION
    SELECT conversation_id FROM read_before
    UNION
    SELECT conversation_id FROM flagged_before
    UNION
    SELECT conversation_id FROM details
    UNION
    SELECT conversation_id FROM manifests
    UNION
    SELECT conversation_id FROM captured
    UNION
    SELECT conversation_id FROM announced
    UNION
    SELECT conversation_id FROM listed
),

with_reasons AS (
    SELECT
        k.conversation_id,
        list_filter(
            [
                CASE WHEN d.conversation_id IS NULL OR d.is_unreadable THEN 'not_in_details' END,
                CASE WHEN d.conversation_id IS NOT NULL AND (
                        coalesce(e.live, 0) <> coalesce(d.recorded, 0)
                        OR coalesce(e.live_screens, 0) <> coalesce(d.recorded_screens, 0)
                    ) THEN 'count_differs' END,
                CASE WHEN e.may_be_one_session THEN 'one_session' END,
                CASE WHEN d.has_no_flag THEN 'no_flag' END,
                CASE WHEN e.lacks_sidecar THEN 'no_sidecar' END,
                CASE WHEN e.has_odd_sidecar
                    OR NOT coalesce(e.starts_after_hour <= d.conversation_end, e.starts_after_hour IS NULL)
                    THEN 'odd_sidecar' END,
                CASE WHEN e.has_empty THEN 'empty_object' END,
                CASE WHEN e.is_several THEN 'several_objects' END,
                CASE WHEN f.conversation_id IS NOT NULL THEN 'failed_export' END,
                CASE WHEN a.conversation_id IS NOT NULL THEN 'announced' END,
                CASE WHEN l.conversation_id IS NOT NULL THEN 'listed' END,
                CASE WHEN b.conversation_id IS NOT NULL THEN 'read_before' END,
                CASE WHEN g.conversation_id IS NOT NULL THEN 'flagged_before' END,
                CASE WHEN $read_all THEN 'all' END
            ],
            lambda reason: reason IS NOT NULL
        ) AS reasons
    FROM known_conversations AS k
    LEFT JOIN exported AS e USING (conversation_id)
    LEFT JOIN details AS d USING (conversation_id)
    LEFT JOIN failed AS f USING (conversation_id)
    LEFT JOIN announced AS a USING (conversation_id)
    LEFT JOIN listed AS l USING (conversation_id)
    LEFT JOIN read_before AS b USING (conversation_id)
    LEFT JOIN flagged_before AS g USING (conversation_id)
)

SELECT conversation_id, reasons
FROM with_reasons
WHERE len(reasons) > 0
ORDER BY conversation_id
