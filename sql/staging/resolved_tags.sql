-- One value per recording and key: the resolved custom_data, before it is put into columns.
--
-- Precedence, first difference decides:
-- 1. the participant's purpose: the order that the mapping lists for the key, else the mapping's general order; a purpose
--    that is not listed comes after those listed, and tags without a participant (manifest, companion) come last;
-- 2. the leg: the recording's own agent before other agents (staging.recording_participants);
-- 3. the participant who joined first;
-- 4. a value that is whole before one that the bulk job may have cut;
-- 5. what the newest load still says before what only an earlier one said;
-- 6. the source: conversation, customattributes, capture, event, details, manifest, sidecar;
-- 7. the latest observation.
-- Other values are not lost: custody.custom_data has them all, and a conflict is named in custody.gaps.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, tag_key
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column tag_key: key, as set
-- column tag_value [pii]: the value that counts, verbatim
-- column source: the source it came from
-- column participant_id: the participant who carries it
-- column purpose: what that participant was; empty for tags without a participant
-- column purpose_rank: position in the order of purposes; 1000 if not listed, 2000 without a participant
-- column observed_at: when it was first seen (UTC)
-- column is_cut: the bulk job may have cut it, and no source has it whole
-- column is_mapped: a column of the mapping names this key
-- column document_uri: the document that shows it
-- column document_sha256: SHA-256 of that document
-- column conflicting_values: different values on participants of the same rank
-- column conflicting_participants: those participants
WITH key_purposes AS (
    SELECT partition_date, tag_key, first(purposes ORDER BY position) AS purposes
    FROM (
        SELECT partition_date, unnest(names) AS tag_key, purposes, position
        FROM staging.tag_mapping
        WHERE column_name IS NOT NULL AND partition_date >= $window_start AND partition_date < $window_end
    )
    GROUP BY partition_date, tag_key
),

general_purposes AS (
    SELECT partition_date, purposes
    FROM staging.tag_mapping
    WHERE column_name IS NULL AND partition_date >= $window_start AND partition_date < $window_end
),

ranked AS (
    SELECT o.*, k.tag_key IS NOT NULL AS is_mapped,
        CASE
            WHEN o.purpose = '' THEN 2000
            ELSE coalesce(nullif(list_position(coalesce(k.purposes, g.purposes), o.purpose), 0), 1000)
        END AS purpose_rank,
        CASE o.source
            WHEN 'conversation' THEN 1 WHEN 'customattributes' THEN 2 WHEN 'capture' THEN 3 WHEN 'event' THEN 4
            WHEN 'details' THEN 5 WHEN 'manifest' THEN 6 ELSE 7
        END AS source_rank
    FROM staging.tag_observations AS o
    LEFT JOIN key_purposes AS k ON k.partition_date = o.partition_date AND k.tag_key = o.tag_key
    LEFT JOIN general_purposes AS g ON g.partition_date = o.partition_date
    LEFT JOIN staging.conversation_facts AS f
        ON f.partition_date = o.partition_date AND f.conversation_id = o.conversation_id
    WHERE o.partition_date >= $window_start AND o.partition_date < $window_end
        -- A cut key is a fragment of a key that the single read gives whole.
        AND NOT (o.is_cut AND length(o.tag_key) >= 1024 AND coalesce(f.single_read, '') = 'ok')
),

candidates AS (
    -- The value that counts for one participant, whatever sources speak of it.
    SELECT v.* REPLACE (r.recording_id AS recording_id), coalesce(p.leg_rank, 0) AS leg_rank, p.started_at
    FROM ranked AS v
    INNER JOIN staging.recordings AS r
        ON r.partition_date = v.partition_date AND r.conversation_id = v.conversation_id
        AND (v.recording_id = '' OR v.recording_id = r.recording_id)
    LEFT JOIN staging.recording_participants AS p
        ON p.partition_date = r.partition_date AND p.conversation_id = r.conversation_id
        AND p.recording_id = r.recording_id AND p.participant_id = v.participant_id
    WHERE r.partition_date >= $window_start AND r.partition_date < $window_end
    QUALIFY row_number() OVER (
        PARTITION BY r.partition_date, r.conversation_id, r.recording_id, v.participant_id, v.tag_key
        ORDER BY v.is_cut, v.is_current DESC, v.source_rank, v.observed_at DESC, v.tag_value
    ) = 1
),

chosen AS (
    SELECT *,
        row_number() OVER (
            PARTITION BY partition_date, conversation_id, recording_id, tag_key
            ORDER BY purpose_rank, leg_rank, started_at NULLS LAST, participant_id, is_cut, source_rank, tag_value
        ) AS position
    FROM candidates
),

conflicts AS (
    -- Only keys that several participants of one rank carry can conflict.
    SELECT partition_date, conversation_id, recording_id, tag_key, purpose_rank,
        count(DISTINCT coalesce('=' || tag_value, 'null')) AS conflicting_values,
        list(DISTINCT participant_id ORDER BY participant_id) AS conflicting_participants
    FROM candidates
    WHERE purpose_rank < 1000 AND NOT is_cut AND participant_id <> ''
    GROUP BY partition_date, conversation_id, recording_id, tag_key, purpose_rank
    HAVING count(DISTINCT coalesce('=' || tag_value, 'null')) > 1
)

SELECT
    c.partition_date,
    c.conversation_id,
    c.recording_id,
    c.tag_key,
    c.tag_value,
    c.source,
    c.participant_id,
    c.purpose,
    c.purpose_rank,
    c.observed_at,
    c.is_cut,
    c.is_mapped,
    c.document_uri,
    c.document_sha256,
    coalesce(x.conflicting_values, 1) AS conflicting_values,
    coalesce(x.conflicting_participants, []) AS conflicting_participants
FROM chosen AS c
LEFT JOIN conflicts AS x
    ON x.partition_date = c.partition_date AND x.conversation_id = c.conversation_id AND x.recording_id = c.recording_id
    AND x.tag_key = c.tag_key AND x.purpose_rank = c.purpose_rank
WHERE c.position = 1
