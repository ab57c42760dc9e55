-- Every observation of a tag joined to every recording that the tag belongs to, with the observation that gives the
-- resolved value.
--
-- The resolved value is chosen in this order; the first difference decides:
--
-- 1. the participant's purpose, in the order that the mapping gives for the key, else in the mapping's general order;
--    purposes that are not listed come next, and tags without a participant (manifest, sidecar) come last;
-- 2. the leg: the recording's own agent before other agents (staging.other_legs);
-- 3. the participant who joined first;
-- 4. a whole value before a value that the analytics job may have cut;
-- 5. a value that its source shows last before a value that the same source showed earlier;
-- 6. the source that tells of the latest moment: a read and a capture tell of their own time, an event of the time at which
--    the tag was set, the analytics job of the conversation's end, a manifest and a sidecar of none;
-- 7. the source: conversation, customattributes, capture, event, details, manifest, sidecar.
--
-- custody.custom_data has all other values, and custody.gaps names conflicts.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, participant_id, tag_key, source, tag_value
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column participant_id: participant that has the tag; empty if the source names none
-- column purpose: purpose of that participant; empty without a participant
-- column leg_rank: 0 if the participant's tags belong to this recording, 1 for another agent's leg
-- column tag_key: key, as set
-- column tag_value [pii]: value, verbatim; null if the source says null
-- column source: conversation, customattributes, capture, event, details, manifest or sidecar
-- column observed_at: when the source first showed this value (UTC); for events, when the tag was set
-- column is_current: true if the newest load shows this value
-- column is_cut: true if the analytics job's limit of 1,024 characters may have cut the key or value
-- column is_mapped: true if a column of the mapping names the key
-- column is_resolved: true for the resolved value of the recording and key
-- column conflicting_values: different values on participants of the same rank, and for a mapped key on any participant or in any document of the export; 1 if they agree
-- column source_uri: source of the document
-- column document_uri: landing file and row of the document that shows the value
-- column document_sha256: SHA-256 of that document
WITH key_purposes AS (
    SELECT partition_date, tag_key, first(purposes ORDER BY position) AS purposes
    FROM (
        SELECT partition_date, unnest(names) AS tag_key, purposes, position
        FROM staging.tag_mapping
        WHERE column_name IS NOT NULL
    )
    GROUP BY partition_date, tag_key
),

general_purposes AS (
    SELECT partition_date, purposes
    FROM staging.tag_mapping
    WHERE column_name IS NULL
),

contested AS (
    -- Most keys have one observation per conversation. Only keys with several are ordered.
    SELECT partition_date, conversation_id, tag_key
    FROM staging.tag_observations
    GROUP BY partition_date, conversation_id, tag_key
    HAVING count(*) > 1
),

placed AS NOT MATERIALIZED (
    SELECT
        o.partition_date,
        o.conversation_id,
        r.recording_id,
        o.participant_id,
        o.purpose,
        CASE
            WHEN o.purpose = '' THEN 2000
            ELSE coalesce(nullif(list_position(coalesce(k.purposes, g.purposes), o.purpose), 0), 1000)
        END AS purpose_rank,
        (a.participant_id IS NOT NULL)::INTEGER AS leg_rank,
        o.tag_key,
        o.tag_value,
        o.source,
        o.observed_at,
        o.is_current,
        o.is_standing,
        CASE o.source
            WHEN 'details' THEN least(w.conversation_end, o.seen_at)
            WHEN 'manifest' THEN NULL
            WHEN 'sidecar' THEN NULL
            ELSE o.seen_at
        END AS tells_of,
        o.is_cut,
        k.tag_key IS NOT NULL AS is_mapped,
        -- If the conversation was read, a cut key is a fragment of a whole key that the single read gives.
        NOT o.is_cut OR NOT at_job_limit(o.tag_key) OR coalesce(w.single_read <> 'ok', true) AS is_candidate,
        c.tag_key IS NOT NULL AS is_contested,
        o.seen_at,
        o.source_uri,
        o.document_uri,
        o.document_sha256
    FROM staging.tag_observations AS o
    INNER JOIN staging.recordings AS r
        ON r.partition_date = o.partition_date AND r.conversation_id = o.conversation_id
        AND (o.recording_id = '' OR o.recording_id = r.recording_id)
    LEFT JOIN contested AS c
        ON c.partition_date = o.partition_date AND c.conversation_id = o.conversation_id AND c.tag_key = o.tag_key
    LEFT JOIN key_purposes AS k ON k.partition_date = o.partition_date AND k.tag_key = o.tag_key
    LEFT JOIN general_purposes AS g ON g.partition_date = o.partition_date
    LEFT JOIN staging.conversation_facts AS w ON w.partition_date = o.partition_date AND w.conversation_id = o.conversation_id
    LEFT JOIN staging.other_legs AS a
        ON a.partition_date = r.partition_date AND a.conversation_id = r.conversation_id
        AND a.recording_id = r.recording_id AND a.participant_id = o.participant_id
),

ordered AS (
    SELECT p.*, n.started_at,
        CASE p.source
            WHEN 'conversation' THEN 1 WHEN 'customattributes' THEN 2 WHEN 'capture' THEN 3 WHEN 'event' THEN 4
            WHEN 'details' THEN 5 WHEN 'manifest' THEN 6 ELSE 7
        END AS source_rank,
        -- The chosen value of one participant, across all sources.
        p.is_candidate AND row_number() OVER (
            one_participant
            ORDER BY NOT p.is_candidate, p.is_cut, p.is_standing DESC, p.tells_of DESC NULLS LAST, source_rank, p.seen_at DESC,
                p.tag_value
        ) = 1 AS is_participants,
        -- The same, or another value that one source tells of one participant and moment.
        p.is_candidate AND rank() OVER (
            one_participant
            ORDER BY NOT p.is_candidate, p.is_cut, p.is_standing DESC, p.tells_of DESC NULLS LAST, source_rank
        ) = 1 AS is_told
    FROM placed AS p
    LEFT JOIN staging.participants AS n USING (partition_date, conversation_id, participant_id)
    WHERE p.is_contested
    WINDOW one_participant AS (
        PARTITION BY p.partition_date, p.conversation_id, p.recording_id, p.participant_id, p.tag_key,
            -- Participants without an id may be several.
            CASE WHEN p.participant_id = '' THEN p.purpose END
    )
),

disagreements AS (
    -- Precedence chooses the value of a mapped key. What it passes over is named all the same, except blank values.
    SELECT partition_date, conversation_id, recording_id, tag_key,
        count(DISTINCT tag_value) AS conflicting_values
    FROM ordered
    WHERE is_mapped AND NOT is_cut AND NOT is_blank(tag_value)
        AND CASE WHEN source IN ('manifest', 'sidecar') THEN is_current ELSE is_told END
    GROUP BY partition_date, conversation_id, recording_id, tag_key
),

conflicts AS (
    -- Of an unmapped key, only values of participants of the same rank can conflict.
    SELECT partition_date, conversation_id, recording_id, tag_key, purpose_rank,
        count(DISTINCT coalesce('=' || tag_value, 'null')) AS conflicting_values
    FROM ordered
    WHERE is_told AND purpose_rank < 1000 AND NOT is_cut AND participant_id <> ''
    GROUP BY partition_date, conversation_id, recording_id, tag_key, purpose_rank
    HAVING count(DISTINCT coalesce('=' || tag_value, 'null')) > 1
),

chosen AS (
    SELECT *,
        is_participants AND row_number() OVER (
            PARTITION BY partition_date, conversation_id, recording_id, tag_key
            ORDER BY NOT is_participants, purpose_rank, leg_rank, started_at NULLS LAST, participant_id, is_cut, source_rank,
                tag_value
        ) = 1 AS is_resolved
    FROM ordered
),

compared AS (
    -- With a blank value, one other value disagrees.
    SELECT c.*, d.conflicting_values,
        coalesce(d.conflicting_values > 1, false)
        OR (d.conflicting_values = 1 AND coalesce(is_blank(c.tag_value), true)) AS disagrees
    FROM chosen AS c
    LEFT JOIN disagreements AS d USING (partition_date, conversation_id, recording_id, tag_key)
)

SELECT
    partition_date, conversation_id, recording_id, participant_id, purpose, leg_rank, tag_key, tag_value, source, observed_at,
    is_current, is_cut, is_mapped, is_candidate AS is_resolved, 1 AS conflicting_values, source_uri, document_uri,
    document_sha256
FROM placed
WHERE NOT is_contested
UNION ALL
SELECT
    c.partition_date, c.conversation_id, c.recording_id, c.participant_id, c.purpose, c.leg_rank, c.tag_key, c.tag_value,
    c.source, c.observed_at, c.is_current, c.is_cut, c.is_mapped, c.is_resolved,
    CASE
        WHEN c.is_resolved AND c.disagrees THEN greatest(c.conflicting_values, x.conflicting_values, 2)
        WHEN c.is_resolved THEN coalesce(x.conflicting_values, 1)
        ELSE 1
    END,
    c.source_uri, c.document_uri, c.document_sha256
FROM compared AS c
LEFT JOIN conflicts AS x USING (partition_date, conversation_id, recording_id, tag_key, purpose_rank)
