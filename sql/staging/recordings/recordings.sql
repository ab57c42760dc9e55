-- All source data about each recording, side by side. This model judges nothing.
--
-- A recording's session is chosen by the strongest evidence: (1) the recording metadata names the session; (2) the
-- recording metadata names the session at its other end; (3) the sidecar names the session's agent; (4) the
-- conversation has one recording and one recorded session. For (3) and (4) the session must be a recorded one, and no
-- other session may match.
--
-- materialized: window
-- separable: true
-- grain: partition_date, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column organization_id: organisation
-- column in_sessions: only the flag of a session or participant shows that the recording should exist
-- column in_captures: only live capture shows that the recording should exist
-- column is_gone: an earlier load named the recording, and no source names it now
-- column in_orphans: the vendor lists the recording as an orphan
-- column in_listed: the vendor's list of all recordings has the recording
-- column listed_alone: no other source has the recording
-- column in_manifests: a manifest names the recording
-- column in_metadata: the recording interface has the recording
-- column in_failures: an export job lists the recording as failed
-- column in_objects: the bucket has, or had, the media
-- column has_object: the bucket has the media now, even if the object is empty
-- column has_content: the bucket has the media now, and the object is not empty
-- column object_uri: chosen media object (see staging.media_objects)
-- column object_version_id: version of the object
-- column object_bytes: size of the object in bytes
-- column object_last_modified: when the object was written (UTC)
-- column bucket_region: region of the bucket
-- column hour_start: hour in the key (UTC)
-- column live_keys: live, non-empty keys of the recording
-- column distinct_contents: different contents of the versions of the live keys
-- column key_versions: versions with bytes of all keys of the recording
-- column digests: all digests of the live keys, including digests from earlier loads
-- column media_sha256: SHA-256 of the media
-- column media_md5: MD5 of the media
-- column media_hashed_at: when that digest was first taken (UTC)
-- column digest_error: reason why there is no digest
-- column object_evidence: every version of the object, as evidence
-- column sidecar_uri: the sidecar
-- column sidecar_state: ok, the reason why the sidecar cannot be read, or null without a sidecar
-- column sidecar_sha256: SHA-256 of the sidecar's bytes
-- column sidecar_evidence: the sidecar, as evidence
-- column sidecar_disagrees: true if the sidecar names another conversation or recording than its key
-- column sidecar_named: conversation and recording that the sidecar names
-- column sidecar_has_tags_field: true if the sidecar has a field for tags
-- column sidecar_tag_count: tags in the sidecar
-- column manifest_has_tags_field: true if a manifest has a field for tags
-- column manifest_tag_count: tags in the manifest
-- column manifest_evidence: the manifest, as evidence
-- column media_type: kind of media
-- column media_subtype: Trunk, Station, Consult, Screen, Snippet
-- column recording_start: start (UTC)
-- column recording_end: end (UTC)
-- column times_as_written: start and end, as written
-- column has_zone: true if these times have a time zone
-- column duration_ms: duration in milliseconds
-- column duration_written: duration, as JSON
-- column initial_direction: inbound or outbound
-- column file_state: state of the recording at the vendor
-- column archive_date: when the recording was or will be archived (UTC)
-- column delete_date: when the recording was or will be deleted (UTC)
-- column export_date: when the export of the recording is due (UTC)
-- column exported_at: when the vendor stamped the recording as exported (UTC)
-- column region: region of the recording
-- column edge_id: edge that carried the session
-- column metadata_document_sha256: SHA-256 of the recording interface's answer, as first received
-- column metadata_seen_at: when that answer was first received (UTC)
-- column orphan_evidence: entry of the orphan list, as evidence
-- column failure_evidence: the export job's list of failed recordings, as evidence
-- column failed_job_id: export job that lists the recording as failed
-- column export_job_id: newest export job that covers the conversation
-- column export_requested_at: when that job was created (UTC)
-- column covering_jobs: export jobs that cover the conversation
-- column unfinished_jobs: covering jobs that are not FULFILLED
-- column excluding_jobs: covering jobs that are FULFILLED, leave out sensitive recordings and skipped some recordings
-- column screenless_jobs: covering jobs that are FULFILLED and leave out screen recordings
-- column snippetless_jobs: covering jobs that are FULFILLED and leave out snippets
-- column job_evidence: documents of the covering jobs, as evidence
-- column session_id: session of the recording
-- column leg_users: agents whose leg was recorded
-- column user_ids: agents in the recording
-- column conversation_start: start of the conversation (UTC)
-- column conversation_end: end of the conversation (UTC)
-- column starts_about: best estimate of the conversation's start, for windows and watermarks (UTC)
-- column starts_before: latest possible start of the conversation (UTC)
WITH current_documents AS (
    SELECT
        partition_date,
        resource,
        subject,
        recording_id,
        document_sha256,
        first_seen_at,
        {'uri': document_uri, 'sha256': document_sha256, 'what': resource || ' document', 'observed_at': first_seen_at}
            AS evidence
    FROM staging.documents
    WHERE is_current
        AND resource IN ('export_failures', 'export_jobs', 'export_manifests', 'orphan_recordings', 'recording_metadata')
    QUALIFY row_number() OVER (
        PARTITION BY partition_date, resource, subject, recording_id ORDER BY "sequence" DESC, first_seen_at DESC, content_sha256
    ) = 1
),

manifests AS (
    SELECT
        manifest.partition_date,
        coalesce(manifest.conversation_id, '') AS conversation_id,
        manifest.recording_id,
        bool_or(coalesce(manifest.has_tags_field, false)) AS has_tags_field,
        max(coalesce(cardinality(manifest.tags), 0)) AS tag_count,
        arg_min(document.evidence, manifest.export_id) AS evidence
    FROM staging.export_manifests AS manifest
    LEFT JOIN current_documents AS document
        ON document.partition_date = manifest.partition_date
        AND document.resource = 'export_manifests'
        AND document.subject = manifest.export_id
        AND document.recording_id = manifest.recording_id
    WHERE manifest.is_current
    GROUP BY ALL
),

orphans AS (
    SELECT
        orphan.partition_date,
        coalesce(orphan.conversation_id, '') AS conversation_id,
        coalesce(orphan.recording_id, 'orphan:' || orphan.orphan_id) AS recording_id,
        arg_min(document.evidence, orphan.orphan_id) AS evidence
    FROM staging.orphan_recordings AS orphan
    LEFT JOIN current_documents AS document
        ON document.partition_date = orphan.partition_date
        AND document.resource = 'orphan_recordings'
        AND document.subject = orphan.orphan_id
    WHERE orphan.is_current
    GROUP BY ALL
),

failures AS (
    SELECT
        failure.partition_date,
        coalesce(failure.conversation_id, '') AS conversation_id,
        failure.recording_id,
        min(failure.job_id) AS job_id,
        arg_min(document.evidence, failure.job_id) AS evidence
    FROM staging.export_failures AS failure
    LEFT JOIN current_documents AS document
        ON document.partition_date = failure.partition_date
        AND document.resource = 'export_failures'
        AND document.subject = failure.job_id
        AND document.recording_id = failure.recording_id
    WHERE failure.is_current
    GROUP BY ALL
),

own_sidecars AS (
    -- A sidecar that names another recording tells nothing of this one.
    SELECT *
    FROM staging.sidecar_objects
    WHERE NOT disagrees
),

metadata AS (
    SELECT
        partition_date,
        key_conversation_id AS conversation_id,
        recording_id,
        session_id,
        utc_moment(start_text) AS start_time,
        utc_moment(end_text) AS end_time,
        start_text,
        end_text,
        names_zone(start_text) AND names_zone(end_text) AS has_zone,
        media,
        media_subtype,
        file_state,
        archive_date,
        delete_date,
        export_date,
        exported_date,
        region
    FROM staging.recording_metadata
    WHERE is_latest
),

key_columns AS (
    -- Only the columns that the next steps need. The wide columns are joined in the final SELECT.
    SELECT
        recording.partition_date,
        recording.conversation_id,
        recording.recording_id,
        coalesce(metadata.session_id, recording.session_id) AS named_session_id,
        sidecar.user_ids AS named_users,
        count(*) FILTER (NOT recording.in_captures) OVER (
            PARTITION BY recording.partition_date, recording.conversation_id
        ) AS recordings_of_conversation,
        coalesce(
            conversation.conversation_start, sidecar.conversation_start, sidecar.start_time, metadata.start_time, media.hour_start
        ) AS starts_about,
        -- Times in documents may lack fractions of a second, and a key has only the hour.
        coalesce(
            conversation.conversation_start,
            coalesce(sidecar.conversation_start, sidecar.start_time, metadata.start_time) + INTERVAL 1 SECOND,
            media.hour_start + INTERVAL 1 HOUR
        ) AS starts_before,
        coalesce(conversation.conversation_end, sidecar.conversation_end, starts_about) AS ends_about
    FROM staging.recording_keys AS recording
    LEFT JOIN staging.media_objects AS media USING (partition_date, conversation_id, recording_id)
    LEFT JOIN own_sidecars AS sidecar USING (partition_date, conversation_id, recording_id)
    LEFT JOIN staging.conversation_facts AS conversation USING (partition_date, conversation_id)
    LEFT JOIN metadata USING (partition_date, conversation_id, recording_id)
),

session_candidates AS (
    SELECT
        recording.partition_date,
        recording.conversation_id,
        recording.recording_id,
        session.session_id,
        session.purpose,
        session.user_id,
        session.only_rang,
        session.edge_id,
        coalesce(list_contains(recording.named_users, session.user_id), false) AS is_named,
        CASE
            WHEN recording.named_session_id = session.session_id THEN 1
            WHEN recording.named_session_id = session.peer_id THEN 2
            WHEN recording.named_session_id IS NULL AND (session.is_recorded OR session.screen_session_id = session.session_id)
                AND is_named THEN 3
            WHEN recording.named_session_id IS NULL AND (session.is_recorded OR session.screen_session_id = session.session_id)
                AND recording.recordings_of_conversation = 1 THEN 4
        END AS evidence
    FROM key_columns AS recording
    INNER JOIN staging.sessions AS session USING (partition_date, conversation_id)
),

sessions AS (
    SELECT
        partition_date,
        conversation_id,
        recording_id,
        CASE
            WHEN min(evidence) <= 2 THEN arg_min(session_id, (evidence, purpose NOT IN ('agent', 'user'), session_id))
            WHEN count(DISTINCT session_id) FILTER (evidence = 3) = 1 THEN any_value(session_id) FILTER (evidence = 3)
            WHEN count(DISTINCT session_id) FILTER (evidence = 4) = 1 THEN any_value(session_id) FILTER (evidence = 4)
        END AS session_id,
        arg_min(edge_id, (evidence, session_id)) AS edge_id,
        -- All agents of a call that was transferred may be at the other end of one session. The sidecar tells whose leg it is.
        list_sort(list_distinct(coalesce(
            list(user_id) FILTER (is_agent AND is_named),
            list(user_id) FILTER (is_agent)
        ))) AS leg_users
    FROM (
        SELECT *, evidence <= 3 AND purpose IN ('agent', 'user') AND user_id IS NOT NULL AND NOT only_rang AS is_agent
        FROM session_candidates
        WHERE evidence IS NOT NULL
    )
    GROUP BY partition_date, conversation_id, recording_id
),

jobs AS (
    SELECT *
    FROM staging.export_jobs
    WHERE is_current AND action = 'EXPORT'
),

bounds AS (
    -- The same jobs cover all recordings between two neighbouring interval bounds. There are few such places, even for
    -- many recordings.
    SELECT partition_date, list(interval_start) AS starts, list(interval_end) AS ends
    FROM jobs
    GROUP BY partition_date
),

interval_counts AS (
    -- Number of job intervals that began before the conversation's end, and that ended before its start.
    SELECT
        recording.partition_date,
        recording.conversation_id,
        recording.recording_id,
        recording.starts_about,
        recording.ends_about,
        len(list_filter(bound.starts, lambda moment: moment <= recording.ends_about)) AS begun,
        len(list_filter(bound.ends, lambda moment: moment <= recording.starts_about)) AS ended
    FROM key_columns AS recording
    INNER JOIN bounds AS bound USING (partition_date)
    WHERE recording.starts_about IS NOT NULL
),

places AS (
    SELECT
        partition_date,
        begun,
        ended,
        any_value(starts_about) AS starts_about,
        any_value(ends_about) AS ends_about
    FROM interval_counts
    GROUP BY partition_date, begun, ended
),

covered AS (
    SELECT
        place.partition_date,
        place.begun,
        place.ended,
        arg_max(job.job_id, (job.requested_at, job.job_id)) AS job_id,
        arg_max(job.requested_at, (job.requested_at, job.job_id)) AS requested_at,
        count(*) AS covering,
        count(*) FILTER (job.job_state IS DISTINCT FROM 'FULFILLED') AS unfinished,
        count(*) FILTER (
            job.job_state = 'FULFILLED' AND NOT coalesce(job.include_sensitive, false) AND job.total_skipped > 0
        ) AS excluding,
        count(*) FILTER (job.job_state = 'FULFILLED' AND NOT coalesce(job.include_screen, true)) AS screenless,
        count(*) FILTER (job.job_state = 'FULFILLED' AND NOT coalesce(job.include_snippet, true)) AS snippetless,
        list(document.evidence ORDER BY job.job_id) FILTER (document.evidence IS NOT NULL) AS evidence
    FROM places AS place
    INNER JOIN jobs AS job
        ON job.partition_date = place.partition_date
        AND job.interval_start <= place.ends_about
        AND job.interval_end > place.starts_about
    LEFT JOIN current_documents AS document
        ON document.partition_date = job.partition_date
        AND document.resource = 'export_jobs'
        AND document.subject = job.job_id
    GROUP BY place.partition_date, place.begun, place.ended
),

organization AS (
    SELECT partition_date, max(organization_id) AS organization_id
    FROM staging.receipts
    GROUP BY partition_date
)

SELECT
    recording.partition_date,
    recording.conversation_id,
    recording.recording_id,
    coalesce(media.organization_id, organization.organization_id) AS organization_id,
    recording.in_sessions,
    recording.in_captures,
    recording.is_gone,
    recording.in_orphans,
    recording.in_listed,
    recording.in_listed AND NOT (
        recording.in_metadata OR recording.in_objects OR recording.in_sidecars OR recording.in_failures
        OR recording.in_manifests OR recording.in_orphans
    ) AS listed_alone,
    recording.in_manifests,
    recording.in_metadata,
    recording.in_failures,
    recording.in_objects,
    coalesce(media.is_live, false) AS has_object,
    coalesce(media.is_live AND media.object_bytes > 0, false) AS has_content,
    media.object_uri,
    media.version_id AS object_version_id,
    media.object_bytes,
    media.last_modified AS object_last_modified,
    media.bucket_region,
    media.hour_start,
    coalesce(media.live_keys, 0) AS live_keys,
    coalesce(media.distinct_contents, 0) AS distinct_contents,
    coalesce(media.key_versions, 0) AS key_versions,
    coalesce(media.earlier_sha256, []) AS digests,
    media.media_sha256,
    media.media_md5,
    media.media_hashed_at,
    media.digest_error,
    coalesce(media.all_uris, []) AS object_evidence,
    sidecar.sidecar_uri,
    sidecar.document_state AS sidecar_state,
    sidecar.document_sha256 AS sidecar_sha256,
    sidecar.evidence AS sidecar_evidence,
    coalesce(sidecar.disagrees, false) AS sidecar_disagrees,
    concat_ws('/', sidecar.document_conversation_id, sidecar.document_recording_id) AS sidecar_named,
    coalesce(own.has_tags_field, false) AS sidecar_has_tags_field,
    coalesce(own.tag_count, 0) AS sidecar_tag_count,
    coalesce(manifest.has_tags_field, false) AS manifest_has_tags_field,
    coalesce(manifest.tag_count, 0) AS manifest_tag_count,
    manifest.evidence AS manifest_evidence,
    coalesce(own.media_type, metadata.media) AS media_type,
    coalesce(own.media_subtype, metadata.media_subtype) AS media_subtype,
    coalesce(own.start_time, metadata.start_time) AS recording_start,
    coalesce(own.end_time, metadata.end_time) AS recording_end,
    {
        'start': CASE WHEN own.document_state = 'ok' THEN own.start_text ELSE metadata.start_text END,
        'end': CASE WHEN own.document_state = 'ok' THEN own.end_text ELSE metadata.end_text END
    } AS times_as_written,
    coalesce(own.has_zone, true) AND coalesce(metadata.has_zone, true) AS has_zone,
    own.duration_ms,
    own.duration_written,
    lower(own.initial_direction) AS initial_direction,
    metadata.file_state,
    metadata.archive_date,
    metadata.delete_date,
    metadata.export_date,
    metadata.exported_date AS exported_at,
    metadata.region,
    session.edge_id,
    CASE WHEN recording.in_metadata THEN answer.document_sha256 END AS metadata_document_sha256,
    answer.first_seen_at AS metadata_seen_at,
    orphan.evidence AS orphan_evidence,
    failure.evidence AS failure_evidence,
    failure.job_id AS failed_job_id,
    covered.job_id AS export_job_id,
    covered.requested_at AS export_requested_at,
    coalesce(covered.covering, 0) AS covering_jobs,
    coalesce(covered.unfinished, 0) AS unfinished_jobs,
    coalesce(covered.excluding, 0) AS excluding_jobs,
    coalesce(covered.screenless, 0) AS screenless_jobs,
    coalesce(covered.snippetless, 0) AS snippetless_jobs,
    coalesce(covered.evidence, []) AS job_evidence,
    coalesce(key_columns.named_session_id, session.session_id) AS session_id,
    coalesce(session.leg_users, []) AS leg_users,
    -- A sidecar that lists no agent does not hide the agent of the recorded session.
    coalesce(
        nullif(list_sort(own.user_ids), []), nullif(session.leg_users, []), own.user_ids, conversation.user_ids, []
    ) AS user_ids,
    coalesce(conversation.conversation_start, own.conversation_start) AS conversation_start,
    coalesce(conversation.conversation_end, own.conversation_end) AS conversation_end,
    key_columns.starts_about,
    key_columns.starts_before
FROM staging.recording_keys AS recording
INNER JOIN key_columns USING (partition_date, conversation_id, recording_id)
LEFT JOIN staging.media_objects AS media USING (partition_date, conversation_id, recording_id)
LEFT JOIN staging.sidecar_objects AS sidecar USING (partition_date, conversation_id, recording_id)
LEFT JOIN own_sidecars AS own USING (partition_date, conversation_id, recording_id)
LEFT JOIN staging.conversation_facts AS conversation USING (partition_date, conversation_id)
LEFT JOIN metadata USING (partition_date, conversation_id, recording_id)
LEFT JOIN current_documents AS answer
    ON answer.resource = 'recording_metadata'
    AND answer.partition_date = recording.partition_date
    AND answer.subject = recording.conversation_id
LEFT JOIN manifests AS manifest USING (partition_date, conversation_id, recording_id)
LEFT JOIN orphans AS orphan USING (partition_date, conversation_id, recording_id)
LEFT JOIN failures AS failure USING (partition_date, conversation_id, recording_id)
LEFT JOIN sessions AS session USING (partition_date, conversation_id, recording_id)
LEFT JOIN interval_counts USING (partition_date, conversation_id, recording_id)
LEFT JOIN covered
    ON covered.partition_date = interval_counts.partition_date AND covered.begun = interval_counts.begun
    AND covered.ended = interval_counts.ended
LEFT JOIN organization USING (partition_date)
