-- Chosen sidecar of each recording: live, readable before unreadable, then the latest written.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation in the key
-- column recording_id: recording in the key
-- column sidecar_uri: chosen sidecar
-- column document_state: ok, not_received, or the reason why the sidecar cannot be read
-- column document_sha256: SHA-256 of the sidecar's bytes
-- column evidence: the sidecar, as evidence
-- column document_conversation_id: conversation that the document names
-- column document_recording_id: recording that the document names
-- column disagrees: true if the document names another conversation or recording than the key
-- column media_type: kind of media
-- column media_subtype: Trunk, Station, Consult, Screen, Snippet
-- column user_ids: agents
-- column start_time: start (UTC); null if it cannot be parsed
-- column end_time: end (UTC); null if it cannot be parsed
-- column start_text: start, as written
-- column end_text: end, as written
-- column has_zone: true if both times have a time zone
-- column duration_ms: duration in milliseconds
-- column duration_written: duration, as JSON
-- column conversation_start: start of the conversation (UTC), if the document tells it
-- column conversation_end: end of the conversation (UTC), if the document tells it
-- column initial_direction: inbound or outbound
-- column has_tags_field: true if the sidecar has a field for tags
-- column tag_count: tags in the sidecar
WITH sidecars AS (
    SELECT
        o.partition_date,
        o.conversation_id,
        o.recording_id,
        o.bucket,
        o.object_key,
        o.object_bytes,
        o.last_modified,
        s.document_state,
        s.document_sha256,
        s.key_conversation_id,
        s.key_recording_id,
        s.conversation_id AS document_conversation_id,
        s.recording_id AS document_recording_id,
        s.media_type,
        s.media_subtype,
        s.user_ids,
        s.start_text,
        s.end_text,
        s.duration_ms,
        s.duration_written,
        s.conversation_start,
        s.conversation_end,
        s.initial_direction,
        s.has_tags_field,
        s.tags,
        s.other_tags,
        s.participants
    FROM staging.export_objects AS o
    LEFT JOIN staging.export_sidecars AS s
        ON s.is_current AND s.partition_date = o.partition_date AND s.bucket = o.bucket AND s.object_key = o.object_key
        AND coalesce(s.version_id, '') = coalesce(o.version_id, '')
    WHERE o.is_current AND o.object_role = 'sidecar' AND o.recording_id IS NOT NULL AND o.key_finding IS NULL
        AND o.is_latest AND NOT o.is_delete_marker
),

recordings_with_several_sidecars AS (
    SELECT partition_date, conversation_id, recording_id
    FROM sidecars
    GROUP BY partition_date, conversation_id, recording_id
    HAVING count(*) > 1
),

chosen AS (
    -- Nearly every recording has one sidecar. Only recordings with several are sorted.
    SELECT c.* FROM sidecars AS c ANTI JOIN recordings_with_several_sidecars USING (partition_date, conversation_id, recording_id)
    UNION ALL
    SELECT c.*
    FROM sidecars AS c
    SEMI JOIN recordings_with_several_sidecars USING (partition_date, conversation_id, recording_id)
    QUALIFY row_number() OVER (
        PARTITION BY c.partition_date, c.conversation_id, c.recording_id
        ORDER BY c.document_state = 'ok' DESC NULLS LAST, c.last_modified DESC, c.object_key
    ) = 1
)

SELECT
    c.partition_date,
    c.conversation_id,
    c.recording_id,
    's3://' || c.bucket || '/' || c.object_key AS sidecar_uri,
    CASE WHEN c.object_bytes = 0 THEN 'empty' ELSE coalesce(c.document_state, 'not_received') END AS document_state,
    c.document_sha256,
    {
        'uri': coalesce(d.document_uri, 's3://' || c.bucket || '/' || c.object_key),
        'sha256': c.document_sha256,
        'what': 'sidecar ' || c.object_key,
        'observed_at': coalesce(d.first_seen_at, c.last_modified)
    } AS evidence,
    c.document_conversation_id,
    c.document_recording_id,
    coalesce(lower(c.document_conversation_id) <> lower(c.key_conversation_id), false)
        OR coalesce(lower(c.document_recording_id) <> lower(c.key_recording_id), false) AS disagrees,
    c.media_type,
    c.media_subtype,
    c.user_ids,
    utc_moment(c.start_text) AS start_time,
    utc_moment(c.end_text) AS end_time,
    c.start_text,
    c.end_text,
    names_zone(c.start_text) AND names_zone(c.end_text) AS has_zone,
    c.duration_ms,
    c.duration_written,
    c.conversation_start,
    c.conversation_end,
    c.initial_direction,
    coalesce(c.has_tags_field, false) AS has_tags_field,
    coalesce(cardinality(c.tags), 0)
        + coalesce(list_sum([cardinality(found) FOR found IN c.other_tags]), 0)::BIGINT
        + coalesce(list_sum([cardinality(p.attributes) FOR p IN c.participants]), 0)::BIGINT AS tag_count
FROM chosen AS c
LEFT JOIN staging.documents AS d
    ON d.partition_date = c.partition_date AND d.resource = 'export_sidecars' AND d.subject = c.object_key
    AND d.content_sha256 = c.document_sha256
