-- Reason why a known recording is not in the bucket, one reason per recording: EXPORT_EXCLUDED_SENSITIVE,
-- EXPORT_FAILED, EXPORT_PENDING, OBJECT_MISSING, RECORDING_ARCHIVED, RECORDING_DELETED, RECORDING_NOT_FOUND. If the
-- recording interface refused or failed, the reason is CONVERSATION_FORBIDDEN or CONVERSATION_FETCH_FAILED.
--
-- The state FULFILLED of an export job proves nothing. Only the object proves an export.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, reason
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column reason: code of the reason
-- column detail: the particulars, without tag values
-- column evidence: documents and objects that prove it
-- column recoverable_until: until when something can be done (UTC), where that is known
WITH asked AS (
    SELECT partition_date, max(finished_at) AS asked_at
    FROM staging.receipts
    WHERE is_current AND resource = 'recording_metadata'
    GROUP BY partition_date
),

deletions AS (
    SELECT partition_date, entity_id AS recording_id, max(conversation_id) AS conversation_id,
        bool_or(coalesce(lower(entity_type) LIKE '%recording', true)) AS is_recording,
        min(occurred_at) AS deleted_at,
        arg_min(evidence, (occurred_at, audit_id)) AS deletion_evidence
    FROM staging.recording_audits
    WHERE access_action = 'deleted' AND is_success AND entity_id IS NOT NULL
    GROUP BY partition_date, entity_id
),

unlisted AS (
    -- Deletions of recordings that no source lists: a session that was recorded may be one of them. Not of annotations,
    -- exports or policies.
    SELECT partition_date, conversation_id, count(*) AS recordings, min(deleted_at) AS deleted_at,
        arg_min(deletion_evidence, (deleted_at, recording_id)) AS deletion_evidence
    FROM deletions
    ANTI JOIN staging.recordings USING (partition_date, recording_id)
    WHERE is_recording
    GROUP BY partition_date, conversation_id
),

listed AS (
    SELECT l.partition_date, l.recording_id, l.exported_date, l.delete_date, l.creation_time,
        {'uri': d.document_uri, 'sha256': d.document_sha256, 'what': 'listed_recordings document', 'observed_at': d.first_seen_at}
            AS evidence
    FROM staging.listed_recordings AS l
    INNER JOIN staging.documents AS d
        ON d.partition_date = l.partition_date AND d.resource = 'listed_recordings' AND d.subject = l.recording_id
        AND d.content_sha256 = l.document_sha256
    WHERE l.is_current
    QUALIFY row_number() OVER (
        PARTITION BY l.partition_date, l.recording_id ORDER BY l.exported_date DESC NULLS LAST, l.document_sha256
    ) = 1
),

told_before AS (
    -- Of what is gone: the first document of each resource that named it, and what the last one told.
    SELECT partition_date, recording_id,
        arg_min({
            'uri': document_uri, 'sha256': document_sha256, 'what': resource || ' document', 'observed_at': fetched_at
        }, ("sequence", document_uri)) AS evidence,
        arg_max(
            {'exported': exported_date, 'deletion': delete_date, 'file_state': file_state}, ("sequence", document_uri)
        ) AS told
    FROM (
        SELECT partition_date, landing_id, recording_id, document_uri, document_sha256, fetched_at, exported_date, delete_date,
            file_state
        FROM staging.recording_metadata
        WHERE NOT is_current
        UNION ALL
        SELECT partition_date, landing_id, recording_id, document_uri, document_sha256, fetched_at, exported_date, delete_date,
            NULL
        FROM staging.listed_recordings
        WHERE NOT is_current
        UNION ALL
        SELECT partition_date, landing_id, recording_id, document_uri, document_sha256, fetched_at, NULL, NULL, NULL
        FROM staging.export_failures
        WHERE NOT is_current
        UNION ALL
        SELECT partition_date, landing_id, recording_id, document_uri, document_sha256, fetched_at, NULL, NULL, NULL
        FROM staging.export_manifests
        WHERE NOT is_current
    )
    SEMI JOIN (
        SELECT partition_date, recording_id FROM staging.recordings
        WHERE is_gone
    ) USING (partition_date, recording_id)
    INNER JOIN staging.receipts USING (partition_date, landing_id)
    GROUP BY partition_date, recording_id, resource
),

named_before AS (
    SELECT partition_date, recording_id, list_sort(list(DISTINCT evidence))[:20] AS evidence,
        min(evidence.observed_at) AS first_seen_at, max(told.exported) AS exported_at, max(told.deletion) AS delete_date,
        coalesce(bool_or(told.file_state = 'DELETED'), false) AS was_deleted
    FROM (
        FROM told_before
        UNION ALL BY NAME
        SELECT partition_date, recording_id, {
            'uri': 's3://' || bucket || '/' || object_key, 'sha256': NULL::VARCHAR,
            'what': object_bytes::VARCHAR || ' bytes, by an earlier listing', 'observed_at': last_modified
        } AS evidence
        FROM staging.export_objects
        SEMI JOIN (
            SELECT partition_date, recording_id FROM staging.recordings
            WHERE is_gone OR (in_objects AND len(object_evidence) = 0)
        ) USING (partition_date, recording_id)
        WHERE NOT is_current AND NOT is_delete_marker AND key_finding IS NULL
    )
    GROUP BY partition_date, recording_id
),

flagged_before AS (
    -- Earlier documents of the analytics job. One of them may be the only one that flags a session.
    SELECT partition_date, conversation_id,
        list({
            'uri': document_uri, 'sha256': document_sha256, 'what': 'conversation_details document', 'observed_at': first_seen_at
        } ORDER BY "sequence", document_uri)[:20] AS evidence
    FROM staging.documents
    WHERE resource = 'conversation_details' AND NOT is_current
    GROUP BY partition_date, conversation_id
),

without_session AS (
    SELECT partition_date, conversation_id, count(*) AS recordings,
        coalesce(stated_kind(media_type, media_subtype) = 'screen', false) AS is_screen
    FROM staging.recordings
    WHERE session_id IS NULL AND NOT in_sessions AND NOT in_captures
        AND stated_kind(media_type, media_subtype) IS DISTINCT FROM 'interaction'
    GROUP BY ALL
),

absent AS (
    SELECT r.* EXCLUDE (exported_at, delete_date), coalesce(r.exported_at, l.exported_date, b.exported_at) AS exported_at,
        coalesce(r.delete_date, l.delete_date, b.delete_date) AS delete_date, b.was_deleted, l.creation_time,
        CASE WHEN r.listed_alone THEN l.evidence END AS list_evidence,
        c.metadata_read, c.metadata_evidence, c.details_evidence, c.details_configured, a.asked_at,
        CASE WHEN r.in_sessions THEN u.deleted_at ELSE d.deleted_at END AS deleted_at,
        CASE WHEN r.in_sessions THEN u.deletion_evidence ELSE d.deletion_evidence END AS deletion_evidence,
        u.recordings >= count(*) FILTER (r.in_sessions) OVER (PARTITION BY r.partition_date, r.conversation_id)
            AS all_were_deleted,
        coalesce(
            CASE stated_kind(r.media_type, r.media_subtype)
                WHEN 'screen' THEN r.screenless_jobs
                WHEN 'snippet' THEN r.snippetless_jobs
            END > 0,
            false
        ) AS is_left_out,
        w.recordings AS without_session,
        CASE WHEN r.in_sessions THEN p.evidence ELSE b.evidence END AS earlier_evidence, b.first_seen_at
    FROM staging.recordings AS r
    INNER JOIN staging.conversation_facts AS c USING (partition_date, conversation_id)
    LEFT JOIN asked AS a USING (partition_date)
    LEFT JOIN listed AS l ON l.partition_date = r.partition_date AND l.recording_id = r.recording_id
    LEFT JOIN deletions AS d ON d.partition_date = r.partition_date AND d.recording_id = r.recording_id
    LEFT JOIN without_session AS w
        ON w.partition_date = r.partition_date AND w.conversation_id = r.conversation_id
        AND w.is_screen = starts_with(r.recording_id, 'screen:')
    LEFT JOIN named_before AS b ON b.partition_date = r.partition_date AND b.recording_id = r.recording_id
    LEFT JOIN flagged_before AS p ON p.partition_date = r.partition_date AND p.conversation_id = r.conversation_id
    LEFT JOIN unlisted AS u ON u.partition_date = r.partition_date AND u.conversation_id = r.conversation_id
    WHERE NOT r.has_object
),

findings AS (
    SELECT *,
        CASE
            WHEN is_gone THEN 'an earlier load named it, first at ' || first_seen_at::VARCHAR || ' UTC'
            WHEN listed_alone THEN 'the list of all recordings has it'
                || coalesce(', created at ' || creation_time::VARCHAR || ' UTC', '')
            WHEN starts_with(recording_id, 'screen:') THEN 'the screen of participant ' || recording_id[8:] || ' was recorded'
            ELSE 'session ' || session_id || ' was recorded'
        END
        -- Such recordings are counted against the sessions: which session is left over cannot be told.
        || CASE WHEN in_sessions AND without_session > 0 THEN ', or another one: the session of '
            || without_session || CASE WHEN without_session = 1 THEN ' recording' ELSE ' recordings' END
            || ' is not known' ELSE '' END AS announced,
        CASE
            -- staging.gap_captures gives the reason.
            WHEN in_captures THEN NULL
            -- What the bucket had was exported, whatever else is told of it.
            WHEN in_objects THEN 'OBJECT_MISSING'
            WHEN in_sessions AND metadata_read IN ('ok', 'not_found') AND all_were_deleted THEN 'RECORDING_DELETED'
            WHEN NOT in_sessions AND exported_at IS NULL AND deleted_at IS NOT NULL THEN 'RECORDING_DELETED'
            WHEN (listed_alone OR is_gone) AND exported_at IS NOT NULL THEN 'OBJECT_MISSING'
            WHEN listed_alone AND delete_date <= asked_at THEN 'RECORDING_DELETED'
            WHEN is_gone AND (was_deleted OR (metadata_read IN ('ok', 'not_found') AND delete_date <= asked_at))
                THEN 'RECORDING_DELETED'
            WHEN (in_sessions OR listed_alone OR is_gone) AND metadata_read IN ('ok', 'not_found') THEN 'RECORDING_NOT_FOUND'
            WHEN (in_sessions OR listed_alone OR is_gone) AND metadata_read = 'forbidden' THEN 'CONVERSATION_FORBIDDEN'
            WHEN in_sessions OR listed_alone OR is_gone THEN 'CONVERSATION_FETCH_FAILED'
            WHEN in_failures THEN 'EXPORT_FAILED'
            WHEN exported_at IS NOT NULL THEN 'OBJECT_MISSING'
            -- Protected from deletion, it is there after that date.
            WHEN file_state = 'DELETED' OR (delete_date <= asked_at AND file_state IS DISTINCT FROM 'AVAILABLE')
                THEN 'RECORDING_DELETED'
            WHEN file_state = 'ARCHIVED' THEN 'RECORDING_ARCHIVED'
            WHEN in_metadata AND export_date IS NULL AND coalesce(file_state, 'AVAILABLE') = 'AVAILABLE'
                AND covering_jobs > 0 AND excluding_jobs = covering_jobs AND NOT is_left_out THEN 'EXPORT_EXCLUDED_SENSITIVE'
            WHEN in_metadata THEN 'EXPORT_PENDING'
            WHEN NOT in_orphans THEN 'OBJECT_MISSING'
        END AS reason
    FROM absent
)

SELECT
    partition_date,
    conversation_id,
    recording_id,
    reason,
    CASE reason
        WHEN 'RECORDING_NOT_FOUND' THEN announced || '; the recording interface does not have it'
        WHEN 'CONVERSATION_FORBIDDEN' THEN announced || '; the recording interface refused'
        WHEN 'CONVERSATION_FETCH_FAILED' THEN announced || CASE metadata_read
            WHEN 'not_read' THEN '; the recording interface was not asked'
            ELSE '; the recording interface gave no usable answer'
        END
        WHEN 'EXPORT_FAILED' THEN 'job ' || failed_job_id || ' lists it as failed'
        WHEN 'OBJECT_MISSING' THEN CASE
            WHEN len(object_evidence) > 0 THEN 'its object was deleted from the bucket'
            WHEN in_objects THEN 'an earlier listing of the bucket had its object, and the newest one has not'
            WHEN exported_at IS NOT NULL THEN 'stamped as exported at ' || exported_at::VARCHAR || ' UTC; the bucket never had it'
            WHEN sidecar_uri IS NOT NULL THEN 'only its sidecar is in the bucket'
            ELSE 'it was named as exported; the bucket does not have it'
        END
        WHEN 'RECORDING_DELETED' THEN coalesce(
            CASE WHEN in_sessions THEN announced || '; ' ELSE '' END
            || 'the vendor''s audit says that it was deleted at ' || deleted_at::VARCHAR || ' UTC',
            'deleted at ' || delete_date::VARCHAR || ' UTC', 'file state ' || coalesce(file_state, 'DELETED')
        )
        WHEN 'RECORDING_ARCHIVED' THEN coalesce('archived at ' || archive_date::VARCHAR || ' UTC', 'file state ' || file_state)
        WHEN 'EXPORT_EXCLUDED_SENSITIVE'
            THEN 'job ' || export_job_id || ' is FULFILLED without sensitive recordings and skipped some'
        ELSE CASE
            WHEN covering_jobs = 0 THEN 'no export job covers the conversation yet'
            WHEN unfinished_jobs > 0 THEN 'an export job that covers it is not FULFILLED'
            WHEN is_left_out THEN 'the export job leaves out ' || stated_kind(media_type, media_subtype) || ' recordings'
            WHEN export_date IS NOT NULL THEN 'due for export since ' || export_date::VARCHAR || ' UTC'
            ELSE 'file state ' || coalesce(file_state, 'unknown')
        -- A file that is in error, or not uploaded yet, waits for more than a job.
        END || CASE WHEN file_state <> 'AVAILABLE'
            AND (covering_jobs = 0 OR unfinished_jobs > 0 OR is_left_out OR export_date IS NOT NULL)
            THEN '; file state ' || file_state ELSE '' END
        || CASE WHEN delete_date <= asked_at THEN '; still there after its deletion date, ' || delete_date::VARCHAR || ' UTC'
            ELSE '' END
    END AS detail,
    list_filter(
        list_concat(
            [
                list_evidence,
                CASE WHEN in_metadata OR in_sessions OR listed_alone OR is_gone THEN metadata_evidence END,
                CASE WHEN in_sessions THEN details_evidence END,
                failure_evidence, sidecar_evidence, manifest_evidence, deletion_evidence
            ],
            earlier_evidence,
            object_evidence,
            job_evidence
        ),
        lambda x: x IS NOT NULL
    ) AS evidence,
    CASE WHEN reason IN ('OBJECT_MISSING', 'EXPORT_FAILED', 'RECORDING_ARCHIVED', 'EXPORT_PENDING')
        AND NOT coalesce(file_state = 'AVAILABLE' AND delete_date <= asked_at, false) THEN delete_date END
        AS recoverable_until
FROM findings
WHERE reason IS NOT NULL
