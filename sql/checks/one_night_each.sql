-- A recording has its row in one night. An offending row names another night that also has the recording, or that should
-- have a recording that a list or an event of this night names, and does not. Run that night again: it was collected
-- before this night named the recording.
--
-- asset: custody.chain_of_custody
-- blocking: false
-- column recording_id: recording
-- column other_night: night to run again
-- column finding: in both nights, or in no night
WITH other_nights AS (
    SELECT *
    FROM staging.recording_nights
    WHERE NOT (partition_date >= getvariable('window_start') AND partition_date < getvariable('window_end'))
),

began AS (
    SELECT key_conversation_id AS conversation_id, min(start_time)::DATE AS own_night
    FROM staging.conversations
    GROUP BY key_conversation_id
),

named_recordings AS (
    SELECT coalesce(recording_id, 'orphan:' || orphan_id) AS recording_id,
        coalesce(utc_moment(start_text), created_time)::DATE AS own_night, unnest([recording_id, conversation_id]) AS id
    FROM staging.orphan_recordings
    WHERE is_current
    UNION ALL
    SELECT listed.recording_id, coalesce(began.own_night, listed.creation_time::DATE),
        unnest([listed.recording_id, listed.conversation_id])
    FROM staging.listed_recordings AS listed
    LEFT JOIN began USING (conversation_id)
    WHERE listed.is_current AND listed.recording_id IS NOT NULL
    UNION ALL
    SELECT told.recording_id, began.own_night, unnest([told.recording_id, told.conversation_id])
    FROM (
        SELECT conversation_id, recording_id FROM staging.export_failures
        WHERE is_current
        UNION ALL
        SELECT conversation_id, recording_id FROM staging.export_manifests
        WHERE is_current
        UNION ALL
        SELECT conversation_id, recording_id FROM staging.conversation_events
    ) AS told
    LEFT JOIN began USING (conversation_id)
    WHERE told.recording_id IS NOT NULL
),

right_nights AS (
    SELECT named_recordings.recording_id, coalesce(min(place.partition_date), min(named_recordings.own_night)) AS night
    FROM named_recordings
    LEFT JOIN staging.placed_ids AS place ON place.id = named_recordings.id AND place.is_placed
    GROUP BY named_recordings.recording_id
)

SELECT
    here.recording_id,
    other.partition_date AS other_night,
    'in both nights' AS finding
FROM staging.recording_keys AS here
INNER JOIN other_nights AS other USING (recording_id)
UNION
SELECT
    recording_id,
    night,
    'in no night'
FROM right_nights
ANTI JOIN staging.recording_nights AS known USING (recording_id)
-- A night that was never collected has no rows at all, and custody.nights says so.
SEMI JOIN other_nights AS collected ON collected.partition_date = right_nights.night
ORDER BY recording_id, other_night
