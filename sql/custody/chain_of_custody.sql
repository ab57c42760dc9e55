-- One row per recording that any source names: its location, metadata, digests, tags and gaps. Columns of the tag
-- mapping (`custom_data_<name>`) stand between the tags and custody_status, as text, null without a value.
--
-- separable: true
-- grain: partition_date, conversation_id, recording_id
-- column organization_id VARCHAR: organisation of the recording
-- column partition_date DATE: UTC day of the conversation's start
-- column conversation_id VARCHAR: conversation; empty if no source names one
-- column recording_id VARCHAR: recording; `session:<id>`, `screen:<participant id>` or `capture:<conversation id>` if only a session, a participant or live capture shows that a recording should exist
-- column session_id VARCHAR: session of the recording
-- column media_type VARCHAR: Call, Chat, Email, Message, Callback or Screen; audio, chat, email, message or screen if only the recording interface says it
-- column media_subtype VARCHAR: Trunk, Station, Consult, Screen or Snippet
-- column direction VARCHAR: inbound or outbound
-- column ani VARCHAR [pii]: the caller's number
-- column dnis VARCHAR [pii]: the called number
-- column user_ids VARCHAR[] [pii]: agents in the recording
-- column agent_names VARCHAR[] [pii]: their names, in the order of user_ids, as the night first knew them; null where no name is known, as where the client may not list users
-- column queue_ids VARCHAR[]: queues of the conversation
-- column queue_names VARCHAR[]: names of the queues that the client may see, as the night first knew them
-- column conversation_start TIMESTAMP: start of the conversation (UTC)
-- column conversation_end TIMESTAMP: end of the conversation (UTC)
-- column recording_start TIMESTAMP: start of the recording (UTC)
-- column recording_end TIMESTAMP: end of the recording (UTC)
-- column duration_ms BIGINT: duration in milliseconds, as the sidecar says
-- column export_job_id VARCHAR: newest export job that covers the conversation
-- column export_requested_at TIMESTAMP: when that job was created (UTC)
-- column exported_at TIMESTAMP: when the vendor stamped the recording as exported (UTC)
-- column file_state VARCHAR: state of the recording at the vendor, in capitals as the recording interface writes it. Otherwise why there is none: listed (the list of all recordings has it; the interface was not asked for it), not_asked, not_found, unreadable (refused or failed), not_stated or erased
-- column media_state VARCHAR: whether the audio, or other media, is in the export bucket: present, empty (no bytes), removed (it was there), not_exported (it never was, though a source names the recording), expected (nothing but a session, a participant or live capture says that there should be one), unknown (the bucket was not listed as a whole) or erased
-- column object_uri VARCHAR: exported media
-- column object_version_id VARCHAR: version of the media in the bucket
-- column object_bytes BIGINT: size of the media in bytes
-- column object_last_modified TIMESTAMP: when the media was written (UTC)
-- column sidecar_uri VARCHAR: sidecar of the recording
-- column sidecar_sha256 VARCHAR: SHA-256 of the sidecar
-- column media_sha256 VARCHAR: SHA-256 of the media
-- column media_md5 VARCHAR: MD5 of the media
-- column media_hashed_at TIMESTAMP: when that digest was first taken (UTC)
-- column conversation_sha256 VARCHAR: SHA-256 of the conversation's document (the single read, else the analytics job)
-- column recording_metadata_sha256 VARCHAR: SHA-256 of the recording interface's answer, as first received
-- column script_id VARCHAR: script of the recording's agent
-- column script_version VARCHAR: version of the script at the call
-- column script_version_source VARCHAR: inferred (from publication dates); null without a version
-- column flow_id VARCHAR: first Architect flow of the conversation
-- column flow_version VARCHAR: version of that flow
-- column script_name VARCHAR: name of the script, where the client may see it
-- column flow_name VARCHAR: name of the flow, where a document has it
-- column custom_data VARCHAR [pii]: every tag as a JSON object with sorted keys and verbatim values; null if no source could be read
-- column custom_data_state VARCHAR: present, empty (the field has no tag), absent (there is no field) or unavailable (no source could be read)
-- column custom_data_source VARCHAR: JSON object: key → source of the value
-- column custom_data_captured_at TIMESTAMP: when the newest of these values was first seen (UTC); without a value, the newest content of the conversation's documents
-- column custody_status VARCHAR: complete, gap (a reason with severity error or warning) or excluded (left out as sensitive, or erased)
-- column gap_reasons VARCHAR[]: codes of the recording's rows in custody.gaps, and of a source that failed for it, sorted
-- column row_sha256 VARCHAR: SHA-256 of the columns above; shows whether the row changed
-- column revision INTEGER: revision of the night in which the row took its present content
WITH tags AS (
    SELECT partition_date, conversation_id, recording_id,
        to_json(map([t.key FOR t IN tags], [t.value FOR t IN tags]))::VARCHAR AS custom_data,
        to_json(map([t.key FOR t IN tags], [t.source FOR t IN tags]))::VARCHAR AS custom_data_source,
        captured_at
    FROM (
        SELECT partition_date, conversation_id, recording_id,
            list_sort(list({'key': tag_key, 'value': tag_value, 'source': source})) AS tags, max(observed_at) AS captured_at
        FROM staging.resolved_tags
        GROUP BY partition_date, conversation_id, recording_id
    )
),

mapped AS (
    SELECT partition_date, conversation_id, recording_id,
        json_group_object(column_name, tag_value) AS tag_columns
    FROM staging.mapped_tags
    WHERE tag_value IS NOT NULL
    GROUP BY partition_date, conversation_id, recording_id
),

found_gaps AS (
    SELECT partition_date, conversation_id, recording_id, list(reason ORDER BY reason) AS reasons,
        bool_or(severity IN ('error', 'warning')) AS is_gap,
        bool_or(reason = 'EXPORT_EXCLUDED_SENSITIVE') AS is_excluded
    FROM (
        SELECT partition_date, conversation_id, recording_id, reason, severity
        FROM custody.gaps
        UNION ALL
        -- custody.gaps has one row of a source that failed as a whole. Each of its recordings has the reason.
        SELECT o.partition_date, o.conversation_id, o.recording_id, o.reason, r.severity
        FROM staging.gap_objects AS o
        INNER JOIN staging.reasons AS r USING (reason)
        WHERE o.failed_source IS NOT NULL
    )
    GROUP BY partition_date, conversation_id, recording_id
),

bucket AS (
    SELECT partition_date, receipt_state
    FROM staging.receipts
    WHERE resource = 'export_objects' AND is_newest
),

row_content AS (
    SELECT
        r.organization_id,
        r.partition_date,
        r.conversation_id,
        r.recording_id,
        r.session_id,
        r.media_type,
        r.media_subtype,
        coalesce(c.direction, r.initial_direction) AS direction,
        c.ani,
        c.dnis,
        r.user_ids,
        n.agent_names,
        c.queue_ids,
        c.queue_names,
        r.conversation_start,
        r.conversation_end,
        r.recording_start,
        r.recording_end,
        r.duration_ms,
        r.export_job_id,
        r.export_requested_at,
        r.exported_at,
        coalesce(r.file_state, CASE
            WHEN r.in_metadata THEN 'not_stated'
            WHEN r.in_listed THEN 'listed'
            WHEN c.metadata_read IN ('ok', 'not_found') THEN 'not_found'
            WHEN c.metadata_read IN ('forbidden', 'failed') THEN 'unreadable'
            ELSE 'not_asked'
        END) AS file_state,
        CASE
            WHEN r.has_content THEN 'present'
            WHEN r.has_object THEN 'empty'
            WHEN r.in_objects AND len(r.object_evidence) = 0 AND coalesce(b.receipt_state <> 'complete', true) THEN 'unknown'
            WHEN r.in_objects THEN 'removed'
            WHEN coalesce(b.receipt_state <> 'complete', true) THEN 'unknown'
            WHEN r.in_sessions OR r.in_captures THEN 'expected'
            ELSE 'not_exported'
        END AS media_state,
        r.object_uri,
        r.object_version_id,
        r.object_bytes,
        r.object_last_modified,
        r.sidecar_uri,
        r.sidecar_sha256,
        r.media_sha256,
        r.media_md5,
        r.media_hashed_at,
        c.conversation_sha256,
        r.metadata_document_sha256 AS recording_metadata_sha256,
        s.script_id,
        s.script_version,
        CASE WHEN s.script_version IS NOT NULL THEN 'inferred' END AS script_version_source,
        s.flow_id,
        s.flow_version,
        s.script_name,
        s.flow_name,
        CASE WHEN t.custom_data IS NOT NULL OR c.in_details OR c.single_read = 'ok' THEN coalesce(t.custom_data, '{}') END
            AS custom_data,
        CASE
            WHEN t.custom_data IS NOT NULL THEN 'present'
            WHEN 'empty' IN (c.details_tags, c.single_tags) THEN 'empty'
            WHEN c.in_details OR c.single_read = 'ok' THEN 'absent'
            ELSE 'unavailable'
        END AS custom_data_state,
        CASE WHEN t.custom_data IS NOT NULL OR c.in_details OR c.single_read = 'ok' THEN coalesce(t.custom_data_source, '{}') END
            AS custom_data_source,
        coalesce(t.captured_at, c.conversation_seen_at) AS custom_data_captured_at,
        unnest(json_transform(coalesce(m.tag_columns, '{}'), $mapped_columns)),
        CASE
            WHEN g.is_excluded THEN 'excluded'
            WHEN g.is_gap THEN 'gap'
            ELSE 'complete'
        END AS custody_status,
        coalesce(g.reasons, []) AS gap_reasons
    FROM staging.recordings AS r
    INNER JOIN staging.conversation_facts AS c USING (partition_date, conversation_id)
    LEFT JOIN staging.agent_names AS n ON n.partition_date = r.partition_date AND n.user_ids = r.user_ids
    LEFT JOIN bucket AS b USING (partition_date)
    LEFT JOIN staging.recording_scripts AS s USING (partition_date, conversation_id, recording_id)
    LEFT JOIN tags AS t USING (partition_date, conversation_id, recording_id)
    LEFT JOIN mapped AS m USING (partition_date, conversation_id, recording_id)
    LEFT JOIN found_gaps AS g USING (partition_date, conversation_id, recording_id)
    ANTI JOIN raw.erasures AS e USING (partition_date, conversation_id, recording_id)
    UNION ALL BY NAME
    -- The row of an erased recording has its ids, its night and the reason, and nothing else.
    SELECT partition_date, conversation_id, recording_id, 'erased' AS file_state, 'erased' AS media_state,
        'unavailable' AS custom_data_state,
        'excluded' AS custody_status, ['ERASED'] AS gap_reasons
    FROM raw.erasures
),

hashed AS (
    SELECT row_content.*, sha256(to_json(row_content)) AS row_sha256
    FROM row_content
),

published AS (
    SELECT partition_date, conversation_id, recording_id, row_sha256, revision
    FROM raw.row_versions
    QUALIFY row_number() OVER (PARTITION BY partition_date, conversation_id, recording_id ORDER BY revision DESC) = 1
),

revisions AS (
    SELECT partition_date, max(revision) AS revision
    FROM raw.publications
    GROUP BY partition_date
)

SELECT
    h.*,
    CASE WHEN p.row_sha256 = h.row_sha256 THEN p.revision ELSE coalesce(v.revision, 0) + 1 END::INTEGER AS revision
FROM hashed AS h
LEFT JOIN published AS p USING (partition_date, conversation_id, recording_id)
LEFT JOIN revisions AS v USING (partition_date)
