-- A healthy night's chain_of_custody, custom_data and custody_events straight from `raw`, as one would write it by hand
-- for this one mapping: one load of each resource, no re-runs, no faults to diagnose, nothing kept for explanations; of
-- the events, what happened to objects and documents.
CREATE TABLE legs AS
SELECT conversation_id, participant_id, purpose, user_id, s.session_id AS session_id, s.peer_id AS peer_id, s.ani AS ani,
    s.dnis AS dnis, s.script_id AS script_id,
    coalesce(s.recording, false) OR (s.media_type = 'screenshare' AND list_contains(screens, participant_id)) AS recorded,
    list_min([g.segment_start FOR g IN s.segments]) AS started_at,
    [g.queue_id FOR g IN s.segments IF g.queue_id IS NOT NULL] AS queue_ids, s.flow AS flow
FROM (
    SELECT conversation_id, screens, p.participant_id AS participant_id, lower(p.purpose) AS purpose, p.user_id AS user_id,
        unnest(p.sessions) AS s
    FROM (
        SELECT conversation_id, screen_recorded AS screens, unnest(participants) AS p FROM raw.conversation_details
    )
);

CREATE TABLE calls AS
WITH of_legs AS (
    SELECT conversation_id,
        list_sort(list_distinct(flatten(list(queue_ids)))) AS queue_ids,
        list_sort(list_distinct(list(user_id) FILTER (user_id IS NOT NULL))) AS user_ids,
        arg_min(ani, (purpose NOT IN ('customer', 'external'), started_at, session_id)) AS ani,
        arg_min(dnis, (purpose NOT IN ('customer', 'external'), started_at, session_id)) AS dnis,
        arg_min(flow.flow_id, (started_at, session_id)) FILTER (flow.flow_id IS NOT NULL) AS flow_id,
        arg_min(flow.flow_version, (started_at, session_id)) FILTER (flow.flow_id IS NOT NULL) AS flow_version,
        arg_min(flow.flow_name, (started_at, session_id)) FILTER (flow.flow_id IS NOT NULL) AS flow_name
    FROM legs
    GROUP BY conversation_id
),
singles AS (
    SELECT key_conversation_id AS conversation_id, document_sha256,
        list_distinct([p.queue_name FOR p IN participants IF p.queue_name IS NOT NULL]) AS queue_names
    FROM raw.conversations
)
SELECT d.conversation_id, d.conversation_start, d.conversation_end, lower(d.originating_direction) AS direction,
    coalesce(s.document_sha256, d.document_sha256) AS conversation_sha256, l.queue_ids, l.user_ids, l.ani, l.dnis,
    l.flow_id, l.flow_version, l.flow_name,
    list_sort(list_distinct(coalesce(s.queue_names, []) || coalesce(
        (SELECT list(DISTINCT q.queue_name) FROM raw.queues AS q WHERE list_contains(l.queue_ids, q.queue_id)), []
    ))) AS queue_names
FROM raw.conversation_details AS d
INNER JOIN of_legs AS l USING (conversation_id)
LEFT JOIN singles AS s USING (conversation_id);

CREATE TABLE recordings AS
WITH jobs AS (
    SELECT job_id, requested_at, interval_start, interval_end FROM raw.export_jobs WHERE action = 'EXPORT'
),
joined AS (
    SELECT o.*, s.user_ids AS sidecar_users, s.media_type, s.media_subtype, s.duration_ms, lower(s.initial_direction) AS said,
        's3://' || s.bucket || '/' || s.object_key AS sidecar_uri, s.document_sha256 AS sidecar_sha256,
        try_cast(regexp_replace(s.start_time, '([+-]\d\d):?(\d\d)$', '\1:\2') AS TIMESTAMPTZ)::TIMESTAMP AS sidecar_start,
        try_cast(regexp_replace(s.end_time, '([+-]\d\d):?(\d\d)$', '\1:\2') AS TIMESTAMPTZ)::TIMESTAMP AS sidecar_end,
        m AS metadata, h.sha256 AS media_sha256, h.md5 AS media_md5, h.hashed_at,
        count(*) OVER (PARTITION BY o.conversation_id) AS recordings
    FROM raw.export_objects AS o
    INNER JOIN raw.media_digests AS h USING (bucket, object_key)
    INNER JOIN raw.export_sidecars AS s
        ON s.key_conversation_id = o.conversation_id AND s.key_recording_id = o.recording_id
    LEFT JOIN raw.recording_metadata AS m
        ON m.key_conversation_id = o.conversation_id AND m.recording_id = o.recording_id
    WHERE o.object_role = 'media'
),
matched AS (
    SELECT j.conversation_id, j.recording_id, l.session_id, l.purpose, l.user_id,
        CASE
            WHEN j.metadata.session_id = l.session_id THEN 1
            WHEN j.metadata.session_id = l.peer_id THEN 2
            WHEN j.metadata.session_id IS NULL AND l.recorded AND list_contains(j.sidecar_users, l.user_id) THEN 3
            WHEN j.metadata.session_id IS NULL AND l.recorded AND j.recordings = 1 THEN 4
        END AS match
    FROM joined AS j
    INNER JOIN legs AS l USING (conversation_id)
),
sessions AS (
    SELECT conversation_id, recording_id,
        CASE
            WHEN count(DISTINCT session_id) FILTER (match = 3) = 1 THEN any_value(session_id) FILTER (match = 3)
            WHEN count(DISTINCT session_id) FILTER (match = 4) = 1 THEN any_value(session_id) FILTER (match = 4)
        END AS session_id,
        list_sort(list_distinct(list(user_id) FILTER (match <= 3 AND purpose = 'agent' AND user_id IS NOT NULL)))
            AS leg_users
    FROM matched
    WHERE match IS NOT NULL
    GROUP BY conversation_id, recording_id
),
exports AS (
    SELECT c.conversation_id, arg_max(b.job_id, (b.requested_at, b.job_id)) AS job_id, max(b.requested_at) AS requested_at
    FROM calls AS c
    INNER JOIN jobs AS b ON b.interval_start <= c.conversation_end AND b.interval_end > c.conversation_start
    GROUP BY c.conversation_id
)
SELECT j.*, c.* EXCLUDE (conversation_id), e.job_id, e.requested_at,
    coalesce(j.metadata.session_id, s.session_id) AS session_id, coalesce(s.leg_users, []) AS leg_users,
    coalesce(list_sort(j.sidecar_users), nullif(s.leg_users, []), c.user_ids, []) AS agents
FROM joined AS j
INNER JOIN calls AS c USING (conversation_id)
LEFT JOIN exports AS e USING (conversation_id)
LEFT JOIN sessions AS s USING (conversation_id, recording_id);

CREATE TABLE people AS
WITH participants AS (
    SELECT conversation_id, participant_id, any_value(purpose) AS purpose, any_value(user_id) AS user_id,
        min(started_at) AS started_at, flatten(list([session_id, peer_id])) AS session_ids
    FROM legs
    GROUP BY conversation_id, participant_id
),
pairs AS (
    SELECT r.conversation_id, r.recording_id, p.participant_id, p.purpose, p.started_at,
        p.purpose = 'agent' AND (
            coalesce(list_contains(r.leg_users, p.user_id), false)
            OR (len(r.leg_users) = 0 AND coalesce(list_contains(p.session_ids, r.session_id), false))
            OR (len(r.leg_users) = 0 AND r.session_id IS NULL AND coalesce(list_contains(r.sidecar_users, p.user_id), false))
        ) AS own_leg
    FROM recordings AS r
    INNER JOIN participants AS p USING (conversation_id)
)
SELECT conversation_id, recording_id, participant_id, purpose, started_at,
    (purpose = 'agent' AND NOT own_leg AND bool_or(own_leg) OVER (PARTITION BY conversation_id, recording_id))::INTEGER
        AS leg_rank
FROM pairs;

CREATE TABLE observed AS
WITH documents AS (
    SELECT conversation_id, NULL AS of_recording, 'details' AS source, 5 AS source_rank, fetched_at, document_uri,
        document_sha256, source_uri,
        unnest([{'id': p.participant_id, 'purpose': p.purpose, 'tags': p.attributes} FOR p IN participants]) AS p
    FROM raw.conversation_details
    UNION ALL
    SELECT key_conversation_id, NULL, 'conversation', 1, fetched_at, document_uri, document_sha256, source_uri,
        unnest([{'id': p.participant_id, 'purpose': p.purpose, 'tags': p.attributes} FOR p IN participants])
    FROM raw.conversations
    UNION ALL
    SELECT key_conversation_id, key_recording_id, 'sidecar', 7, fetched_at, document_uri, document_sha256, source_uri,
        unnest([{'id': p.participant_id, 'purpose': p.purpose, 'tags': p.attributes} FOR p IN participants])
    FROM raw.export_sidecars
),
tags AS (
    SELECT * EXCLUDE (p), p.id AS participant_id, lower(p.purpose) AS purpose, unnest(map_entries(p.tags)) AS tag
    FROM documents
)
SELECT r.conversation_id, r.recording_id, t.participant_id, t.purpose, p.leg_rank, p.started_at, t.tag.key AS tag_key,
    t.tag.value AS tag_value, t.source, t.source_rank, t.fetched_at, t.source_uri, t.document_uri, t.document_sha256,
    t.source <> 'conversation' AND (length(t.tag.key) >= 1024 OR length(t.tag.value) >= 1024) AS is_cut
FROM tags AS t
INNER JOIN people AS p
    ON p.conversation_id = t.conversation_id AND p.participant_id = t.participant_id
    AND coalesce(t.of_recording, p.recording_id) = p.recording_id
INNER JOIN recordings AS r ON r.conversation_id = p.conversation_id AND r.recording_id = p.recording_id;

CREATE TABLE resolved AS
SELECT *
FROM (
    SELECT *,
        coalesce(nullif(list_position(
            CASE tag_key
                WHEN 'Legal-Hold' THEN ['agent', 'customer']
                WHEN 'Matter-Number' THEN ['agent', 'customer']
                WHEN 'Consent.Recorded' THEN ['ivr', 'customer', 'agent']
                WHEN 'Customer Language' THEN ['ivr', 'customer']
                ELSE ['agent']
            END,
            purpose
        ), 0), 1000) AS purpose_rank
    FROM observed
    QUALIFY row_number() OVER (
        PARTITION BY conversation_id, recording_id, participant_id, tag_key ORDER BY is_cut, source_rank, tag_value
    ) = 1
)
QUALIFY row_number() OVER (
    PARTITION BY conversation_id, recording_id, tag_key
    ORDER BY purpose_rank, leg_rank, started_at, participant_id, is_cut, source_rank, tag_value
) = 1;

CREATE TABLE custom_data AS
SELECT $night::DATE AS partition_date, o.conversation_id, o.recording_id, o.participant_id,
    o.purpose AS participant_purpose, o.leg_rank, o.tag_key, o.tag_value, o.source, o.fetched_at AS observed_at,
    true AS still_there, o.is_cut AS may_be_cut, r.tag_key IS NOT NULL AS is_resolved, o.source_uri, o.document_uri,
    o.document_sha256
FROM observed AS o
LEFT JOIN resolved AS r
    ON r.conversation_id = o.conversation_id AND r.recording_id = o.recording_id AND r.tag_key = o.tag_key
    AND r.participant_id = o.participant_id AND r.source = o.source
ORDER BY o.conversation_id, o.recording_id, o.participant_id, o.tag_key, o.source, o.tag_value;

CREATE TABLE chain_of_custody AS
WITH scripts AS (
    SELECT r.conversation_id, r.recording_id, r.conversation_start, l.script_id
    FROM recordings AS r
    INNER JOIN legs AS l USING (conversation_id)
    WHERE l.script_id IS NOT NULL AND l.purpose = 'agent'
    QUALIFY row_number() OVER (
        PARTITION BY r.conversation_id, r.recording_id
        ORDER BY l.session_id IS DISTINCT FROM r.session_id, NOT coalesce(list_contains(r.leg_users, l.user_id), false),
            l.started_at, l.session_id
    ) = 1
),
versions AS (
    SELECT s.conversation_id, s.recording_id, any_value(s.script_id) AS script_id,
        arg_max(p.version_id, (p.published_date, p.version_id)) AS script_version
    FROM scripts AS s
    LEFT JOIN raw.published_scripts AS p ON p.script_id = s.script_id AND p.published_date <= s.conversation_start
    GROUP BY s.conversation_id, s.recording_id
),
tags AS (
    SELECT conversation_id, recording_id,
        to_json(map_from_entries(list((tag_key, tag_value) ORDER BY tag_key)))::VARCHAR AS custom_data,
        to_json(map_from_entries(list((tag_key, source) ORDER BY tag_key)))::VARCHAR AS sources,
        max(fetched_at) AS captured_at,
        any_value(tag_value) FILTER (tag_key = 'Legal-Hold' AND purpose_rank < 1000) AS legal_hold,
        any_value(tag_value) FILTER (tag_key = 'Matter-Number' AND purpose_rank < 1000) AS matter_number,
        any_value(tag_value) FILTER (tag_key = 'Consent.Recorded' AND purpose_rank < 1000) AS consent_recorded,
        any_value(tag_value) FILTER (tag_key = 'Disposition' AND purpose_rank < 1000) AS disposition,
        json_extract_string(any_value(tag_value) FILTER (tag_key = 'Case_JSON' AND purpose_rank < 1000), '$.case.id')
            AS case_id,
        any_value(tag_value) FILTER (tag_key = 'Customer Language' AND purpose_rank < 1000) AS customer_language,
        any_value(tag_value) FILTER (tag_key = 'Callback-Number' AND purpose_rank < 1000) AS callback_number,
        any_value(tag_value) FILTER (tag_key = 'Summary' AND purpose_rank < 1000) AS summary
    FROM resolved
    GROUP BY conversation_id, recording_id
),
names AS (
    SELECT a.agents, list(u.user_name ORDER BY a.place) AS agent_names
    FROM (
        SELECT agents, unnest(agents) AS user_id, generate_subscripts(agents, 1) AS place
        FROM (SELECT DISTINCT agents FROM recordings)
    ) AS a
    LEFT JOIN raw.users AS u USING (user_id)
    GROUP BY a.agents
    HAVING count(u.user_name) > 0
),
content AS (
    SELECT r.organization_id, $night::DATE AS partition_date, r.conversation_id, r.recording_id, r.session_id,
        coalesce(r.media_type, r.metadata.media) AS media_type,
        coalesce(r.media_subtype, r.metadata.media_subtype) AS media_subtype,
        coalesce(r.direction, r.said) AS direction, r.ani, r.dnis,
        r.agents AS user_ids, n.agent_names, r.queue_ids,
        r.queue_names, r.conversation_start, r.conversation_end,
        coalesce(r.sidecar_start, (r.metadata.start_time::TIMESTAMPTZ)::TIMESTAMP) AS recording_start,
        coalesce(r.sidecar_end, (r.metadata.end_time::TIMESTAMPTZ)::TIMESTAMP) AS recording_end, r.duration_ms,
        r.job_id AS export_job_id, r.requested_at AS export_requested_at, r.metadata.exported_date AS exported_at,
        coalesce(r.metadata.file_state, 'not_asked') AS file_state, 'present' AS media_state,
        's3://' || r.bucket || '/' || r.object_key AS object_uri,
        r.version_id AS object_version_id, r.object_bytes, r.last_modified AS object_last_modified, r.sidecar_uri,
        r.sidecar_sha256, r.media_sha256, r.media_md5, r.hashed_at AS media_hashed_at, r.conversation_sha256,
        r.metadata.document_sha256 AS recording_metadata_sha256, v.script_id, v.script_version,
        CASE WHEN v.script_version IS NOT NULL THEN 'inferred' END AS script_version_source, r.flow_id, r.flow_version,
        (SELECT max(n.script_name) FROM raw.published_scripts AS n WHERE n.script_id = v.script_id) AS script_name,
        r.flow_name, t.custom_data, CASE WHEN t.custom_data IS NOT NULL THEN 'present' END AS custom_data_state,
        t.sources AS custom_data_source, t.captured_at AS custom_data_captured_at,
        t.legal_hold AS custom_data_legal_hold, t.matter_number AS custom_data_matter_number,
        t.consent_recorded AS custom_data_consent_recorded, t.disposition AS custom_data_disposition,
        t.case_id AS custom_data_case_id, t.customer_language AS custom_data_customer_language,
        t.callback_number AS custom_data_callback_number, t.summary AS custom_data_summary,
        'complete' AS custody_status, []::VARCHAR[] AS gap_reasons
    FROM recordings AS r
    LEFT JOIN names AS n USING (agents)
    LEFT JOIN versions AS v USING (conversation_id, recording_id)
    LEFT JOIN tags AS t USING (conversation_id, recording_id)
)
SELECT content.*, sha256(to_json(content)) AS row_sha256, 1 AS revision
FROM content
ORDER BY conversation_id, recording_id;

CREATE TABLE custody_events AS
WITH loads AS (
    SELECT landing_id, coalesce(collector, operator, 'unknown') AS who, operator, tool_version, git_revision
    FROM raw.extraction_receipts
),
documents AS (
    SELECT landing_id, 'conversation_details' AS resource, conversation_id, NULL AS of_recording, source_uri, document_uri,
        fetched_at, document_sha256
    FROM raw.conversation_details
    UNION ALL
    SELECT landing_id, 'conversations', key_conversation_id, NULL, source_uri, document_uri, fetched_at, document_sha256
    FROM raw.conversations
    UNION ALL
    SELECT DISTINCT landing_id, 'recording_metadata', key_conversation_id, NULL, source_uri, document_uri, fetched_at,
        document_sha256
    FROM raw.recording_metadata
    UNION ALL
    SELECT landing_id, 'export_sidecars', key_conversation_id, key_recording_id, source_uri, document_uri, fetched_at,
        document_sha256
    FROM raw.export_sidecars
),
events AS (
    SELECT conversation_id, recording_id, last_modified AS occurred_at, 'exported' AS action,
        'Genesys Cloud (presumed)' AS who, NULL AS operator, 'media' AS what,
        's3://' || bucket || '/' || object_key || '?versionId=' || version_id AS where_at, 'bulk export' AS why,
        coalesce('export job ' || job_id, 'export bucket') AS how, NULL AS tool_version, NULL AS git_revision,
        media_sha256 AS sha256_after
    FROM recordings
    UNION ALL
    SELECT r.conversation_id, r.recording_id, d.fetched_at, 'collected', l.who, l.operator, d.resource || ' document',
        d.source_uri, 'nightly collection', 'kept as received in ' || d.document_uri, l.tool_version, l.git_revision,
        d.document_sha256
    FROM recordings AS r
    INNER JOIN documents AS d
        ON d.conversation_id = r.conversation_id AND coalesce(d.of_recording, r.recording_id) = r.recording_id
    INNER JOIN loads AS l ON l.landing_id = d.landing_id
    UNION ALL
    SELECT r.conversation_id, r.recording_id, h.hashed_at, 'hashed', l.who, l.operator, 'media',
        's3://' || r.bucket || '/' || r.object_key || '?versionId=' || r.version_id, 'integrity', h."method",
        l.tool_version, l.git_revision, h.sha256
    FROM recordings AS r
    INNER JOIN raw.media_digests AS h USING (bucket, object_key)
    INNER JOIN loads AS l ON l.landing_id = h.landing_id
)
SELECT $night::DATE AS partition_date, conversation_id, recording_id,
    row_number() OVER (
        PARTITION BY conversation_id, recording_id ORDER BY occurred_at, action, what, where_at, sha256_after, why
    ) AS sequence,
    occurred_at, action, who, operator, what, where_at, why, how, tool_version, git_revision,
    NULL::VARCHAR AS sha256_before, sha256_after
FROM events
ORDER BY conversation_id, recording_id, sequence;
