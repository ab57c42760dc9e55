-- Recordings that a source names by their id: export jobs, the bucket, sidecars, the recording interface, the list of all
-- recordings, manifests, orphan lists and events; and those that only an earlier load of the night named.
--
-- A recording has a row in one night. Lists of failed, exported and orphaned recordings and the list of all recordings
-- name recordings of any night. Of these, a night has the recordings that its own sources know: the bucket's folders or
-- the analytics job. A recording that no night's own sources know is in the night in which its conversation started, if
-- the conversation was read by itself, else in the night of its own time, where a list says that, else in the first night
-- that a list named it. The same holds for the metadata of a conversation that was read because such a list names it.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation; empty if no source names one
-- column recording_id: recording, or `orphan:<id>` of an orphan without one
-- column in_failures: an export job lists the recording as failed
-- column in_objects: the bucket has, or had, the media
-- column in_sidecars: the bucket has the sidecar
-- column in_metadata: the recording interface has the recording
-- column in_manifests: a manifest names the recording
-- column in_orphans: the vendor lists the recording as an orphan
-- column in_listed: the vendor's list of all recordings has the recording
-- column in_captures: only live capture shows that the recording should exist
-- column is_gone: an earlier load named the recording, and no source names it now
WITH named_before AS (
    SELECT b.*, r."sequence"
    FROM (
        SELECT partition_date, landing_id, conversation_id, recording_id, NULL::DATE AS own_night
        FROM staging.export_failures
        WHERE NOT is_current
        UNION ALL
        SELECT partition_date, landing_id, conversation_id, recording_id, NULL
        FROM staging.export_manifests
        WHERE NOT is_current
        UNION ALL
        SELECT partition_date, landing_id, key_conversation_id, recording_id, NULL
        FROM staging.recording_metadata
        WHERE NOT is_current
        UNION ALL
        SELECT partition_date, landing_id, conversation_id, recording_id, creation_time::DATE
        FROM staging.listed_recordings
        WHERE NOT is_current
    ) AS b
    INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
    WHERE b.recording_id IS NOT NULL
),

named_by_lists AS (
    SELECT partition_date, conversation_id, recording_id, 'failures' AS origin, NULL::DATE AS own_night
    FROM staging.export_failures
    WHERE is_current
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, 'manifests', NULL
    FROM staging.export_manifests
    WHERE is_current
    UNION ALL
    SELECT partition_date, conversation_id, coalesce(recording_id, 'orphan:' || orphan_id), 'orphans',
        coalesce(utc_moment(start_text), created_time)::DATE
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
    -- A conversation that capture could not read is filed under the day of its event.
    SELECT DISTINCT partition_date, conversation_id, recording_id, 'events', NULL::DATE
    FROM staging.conversation_events
    WHERE recording_id IS NOT NULL
    UNION ALL
    -- What earlier loads named.
    SELECT DISTINCT partition_date, conversation_id, recording_id, 'before', own_night
    FROM named_before
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
    SELECT partition_date, conversation_id, recording_id,
        CASE WHEN bool_or(object_role = 'media') THEN 'objects_before' ELSE 'before' END
    FROM staging.export_objects
    WHERE NOT is_current AND object_role IN ('media', 'sidecar') AND key_finding IS NULL AND NOT is_delete_marker
    GROUP BY partition_date, conversation_id, recording_id
),

last_named AS (
    -- Conversation and spelling under which an earlier load named a recording last; the bucket's before those of lists.
    SELECT partition_date, conversation_id, recording_id
    FROM (
        SELECT partition_date, conversation_id, recording_id, landing_id, false AS is_object, "sequence" FROM named_before
        UNION ALL
        SELECT o.partition_date, o.conversation_id, o.recording_id, o.landing_id, o.object_role = 'media', r."sequence"
        FROM staging.export_objects AS o
        INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
        WHERE NOT o.is_current AND o.object_role IN ('media', 'sidecar') AND o.key_finding IS NULL AND NOT o.is_delete_marker
    ) AS b
    SEMI JOIN named AS n
        ON n.partition_date = b.partition_date AND n.recording_id = b.recording_id
        AND n.conversation_id IS NOT DISTINCT FROM b.conversation_id AND n.origin IN ('before', 'objects_before')
    QUALIFY row_number() OVER (
        PARTITION BY partition_date, lower(recording_id)
        ORDER BY is_object DESC, "sequence" DESC, landing_id DESC, conversation_id IS NULL, conversation_id, recording_id
    ) = 1
),

named_or_gone AS (
    -- What an earlier load named counts if nothing names it now, whatever its conversation, and no other night has it.
    SELECT * FROM named
    WHERE origin NOT IN ('before', 'objects_before')
    UNION ALL
    SELECT b.*
    FROM named AS b
    INNER JOIN last_named AS l
        ON l.partition_date = b.partition_date AND l.recording_id = b.recording_id
        AND l.conversation_id IS NOT DISTINCT FROM b.conversation_id
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
)

SELECT partition_date, coalesce(conversation_id, '') AS conversation_id, recording_id,
    bool_or(origin = 'failures') AS in_failures, bool_or(origin IN ('objects', 'objects_before')) AS in_objects,
    bool_or(origin = 'sidecars') AS in_sidecars, bool_or(origin = 'metadata') AS in_metadata,
    bool_or(origin = 'manifests') AS in_manifests, bool_or(origin = 'orphans') AS in_orphans,
    bool_or(origin = 'listed') AS in_listed, bool_and(origin = 'events') AS in_captures,
    bool_and(origin IN ('before', 'objects_before')) AS is_gone
FROM named_or_gone
WHERE recording_id IS NOT NULL
GROUP BY partition_date, coalesce(conversation_id, ''), recording_id
