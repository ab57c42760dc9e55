-- Every document that says something about a night's recordings, once per content: when that content was first seen, and
-- where those bytes lie. Evidence points here, so collecting the same content again changes nothing.
--
-- Recording metadata is compared by its fields: its annotations get new ids at each request.
--
-- materialized: window
-- separable: true
-- grain: partition_date, resource, subject, content_sha256, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column resource: which kind of document
-- column subject: object key, conversation id, job id or export id
-- column content_sha256: identity of the content
-- column conversation_id: conversation it is about; empty for jobs
-- column recording_id: recording it is about; empty if about the conversation
-- column document_state: ok, or why the bytes could not be read
-- column document_sha256: SHA-256 of the bytes as first received
-- column document_uri: landing file and row of those bytes
-- column source_uri: where they came from
-- column first_seen_at: when this content was first received (UTC)
-- column landing_id: the load it first came with
-- column is_current: the newest load still says this
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
        sha256(string_agg(
            to_json({
                'state': document_state, 'id': recording_id, 'session': session_id, 'start': start_text,
                'end': end_text, 'media': media, 'subtype': media_subtype, 'file_state': file_state,
                'archive': archive_date, 'delete': delete_date, 'export': export_date, 'exported': exported_date,
                'region': region
            }), '' ORDER BY recording_id
        )),
        min(document_state), min(document_sha256), min(document_uri), min(source_uri), min(fetched_at)
    FROM staging.recording_metadata
    GROUP BY partition_date, landing_id, key_conversation_id
    UNION ALL
    SELECT partition_date, landing_id, is_current, 'conversations', key_conversation_id,
        key_conversation_id, '',
        document_sha256, document_state, document_sha256, document_uri, source_uri, fetched_at
    FROM staging.conversations
    UNION ALL
    SELECT partition_date, landing_id, bool_or(is_current), 'conversation_attributes', key_conversation_id,
        key_conversation_id, '',
        document_sha256, min(document_state), document_sha256, min(document_uri), min(source_uri), min(fetched_at)
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
        conversation_id, recording_id,
        document_sha256, document_state, document_sha256, document_uri, source_uri, fetched_at
    FROM staging.orphan_recordings
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
    arg_min(document_state, (fetched_at, landing_id)) AS document_state,
    arg_min(document_sha256, (fetched_at, landing_id)) AS document_sha256,
    arg_min(document_uri, (fetched_at, landing_id)) AS document_uri,
    arg_min(source_uri, (fetched_at, landing_id)) AS source_uri,
    min(fetched_at) AS first_seen_at,
    arg_min(landing_id, (fetched_at, landing_id)) AS landing_id,
    bool_or(is_current) AS is_current
FROM received
GROUP BY
    partition_date, resource, coalesce(subject, ''), coalesce(content_sha256, ''), coalesce(conversation_id, ''),
    coalesce(recording_id, '')
