-- Every document about the night's recordings, one row per different content: when the content was first received, and
-- where its bytes are stored. Evidence points to these rows. Collecting the same content again therefore changes no
-- evidence.
--
-- The identity of recording metadata is a hash of its fields, because the vendor gives its annotations new ids at each
-- request.
--
-- materialized: window
-- separable: true
-- grain: partition_date, resource, subject, content_sha256, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column resource: kind of the document
-- column subject: object key, conversation id, job id or export id
-- column content_sha256: identity of the content
-- column conversation_id: conversation of the document; empty for jobs
-- column recording_id: recording of the document; empty if the document is about a conversation
-- column document_state: ok, or the reason why the document cannot be read
-- column document_sha256: SHA-256 of the bytes as first received
-- column document_uri: landing file and row that hold those bytes
-- column source_uri: source of the document: API path, object or capture document
-- column first_seen_at: when this content was first received (UTC), by the clock of that load
-- column landing_id: load that first brought this content
-- column sequence: position of that load among all loads; 0 for loads of earlier versions
-- column is_current: true if the newest load has this content
WITH received AS (
    SELECT partition_date, landing_id, is_current, 'export_sidecars' AS resource, object_key AS subject,
        key_conversation_id AS conversation_id, key_recording_id AS recording_id,
        document_sha256 AS content_sha256, document_state, document_sha256, document_uri, source_uri, fetched_at
    FROM staging.export_sidecars
    UNION ALL
    SELECT partition_date, landing_id, is_current, 'export_manifests', export_id,
        conversation_id, recording_id,
        document_sha256, document_state, document_sha256, document_uri, source_uri, fetched_at
    FROM staging.export_manifests
    UNION ALL
    SELECT partition_date, landing_id, bool_or(is_current), 'recording_metadata', key_conversation_id,
        key_conversation_id, '',
        sha256(string_agg(entry, '' ORDER BY recording_id, entry)),
        coalesce(min(document_state) FILTER (document_state <> 'ok'), 'ok'),
        min(document_sha256), min(document_uri), min(source_uri), min(fetched_at)
    FROM (
        SELECT *, to_json({
            'state': document_state, 'id': recording_id, 'session': session_id, 'start': start_text,
            'end': end_text, 'media': media, 'subtype': media_subtype, 'file_state': file_state,
            'archive': archive_date, 'delete': delete_date, 'export': export_date, 'exported': exported_date,
            'region': region
        }) AS entry
        FROM staging.recording_metadata
    )
    GROUP BY partition_date, landing_id, key_conversation_id
    UNION ALL
    SELECT partition_date, landing_id, is_current, 'conversations', key_conversation_id,
        key_conversation_id, '',
        document_sha256, document_state, document_sha256, document_uri, source_uri, fetched_at
    FROM staging.conversations
    UNION ALL
    SELECT partition_date, landing_id, bool_or(is_current), 'conversation_attributes', key_conversation_id,
        key_conversation_id, '',
        document_sha256, coalesce(min(document_state) FILTER (document_state <> 'ok'), 'ok'),
        document_sha256, min(document_uri), min(source_uri), min(fetched_at)
    FROM staging.conversation_attributes
    GROUP BY partition_date, landing_id, key_conversation_id, document_sha256
    UNION ALL
    SELECT partition_date, landing_id, is_current, 'conversation_details', conversation_id,
        conversation_id, '',
        document_sha256, document_state, document_sha256, document_uri, source_uri, fetched_at
    FROM staging.conversation_details
    UNION ALL
    SELECT partition_date, landing_id, is_current, 'captures', conversation_id,
        conversation_id, '',
        document_sha256, document_state, document_sha256, document_uri, source_uri, observed_at
    FROM staging.captures
    UNION ALL
    SELECT partition_date, landing_id, is_current, 'orphan_recordings', orphan_id,
        conversation_id, coalesce(recording_id, 'orphan:' || orphan_id),
        document_sha256, document_state, document_sha256, document_uri, source_uri, fetched_at
    FROM staging.orphan_recordings
    UNION ALL
    SELECT partition_date, landing_id, is_current, 'listed_recordings', recording_id,
        conversation_id, recording_id,
        document_sha256, document_state, document_sha256, document_uri, source_uri, fetched_at
    FROM staging.listed_recordings
    UNION ALL
    SELECT partition_date, landing_id, is_current, 'export_jobs', job_id,
        '', '',
        document_sha256, document_state, document_sha256, document_uri, source_uri, fetched_at
    FROM staging.export_jobs
    UNION ALL
    SELECT partition_date, landing_id, is_current, 'export_failures', job_id,
        conversation_id, recording_id,
        document_sha256, document_state, document_sha256, document_uri, source_uri, fetched_at
    FROM staging.export_failures
)

SELECT
    partition_date,
    resource,
    coalesce(subject, '') AS subject,
    coalesce(content_sha256, '') AS content_sha256,
    coalesce(conversation_id, '') AS conversation_id,
    coalesce(recording_id, '') AS recording_id,
    arg_min(document_state, place) AS document_state,
    arg_min(document_sha256, place) AS document_sha256,
    arg_min(document_uri, place) AS document_uri,
    arg_min(source_uri, place) AS source_uri,
    arg_min(fetched_at, place) AS first_seen_at,
    arg_min(landing_id, place) AS landing_id,
    min("sequence") AS "sequence",
    bool_or(is_current) AS is_current
FROM (
    -- The first load decides, whatever its clock said.
    SELECT d.*, r."sequence", (r."sequence", d.fetched_at, d.landing_id) AS place
    FROM received AS d
    INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
)
GROUP BY
    partition_date, resource, coalesce(subject, ''), coalesce(content_sha256, ''), coalesce(conversation_id, ''),
    coalesce(recording_id, '')
