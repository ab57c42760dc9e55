-- Everything the sources say about each recording, side by side, before anything is judged.
--
-- The session is the one the recording interface names; failing that, the only recorded session of a conversation with one
-- recording, or the only recorded session of the agents that the sidecar names.
--
-- materialized: window
-- separable: true
-- grain: partition_date, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column organization_id: organisation
-- column in_sessions: only a recorded session says that it should exist
-- column in_captures: only live capture says that it should exist
-- column in_orphans: it is listed as an orphan
-- column in_manifests: a manifest names it
-- column in_metadata: the recording interface knows it
-- column in_failures: a job lists it as failed
-- column in_objects: the bucket has, or had, its media
-- column has_object: the bucket has its media now, be it empty
-- column has_content: the bucket has its media now, and it is not empty
-- column object_uri: the object
-- column object_version_id: its version
-- column object_bytes: its size
-- column object_last_modified: when it was written (UTC)
-- column bucket_region: region of the bucket
-- column hour_start: the hour in its key (UTC)
-- column live_keys: keys with content
-- column distinct_contents: different contents among their versions
-- column key_versions: versions among them
-- column digests: every digest those keys had, now or before
-- column media_sha256: SHA-256 of the media
-- column media_md5: MD5 of the media
-- column media_hashed_at: when first taken (UTC)
-- column digest_error: why there is no digest
-- column object_evidence: every version of the object
-- column sidecar_uri: the sidecar
-- column sidecar_state: ok, why it could not be read, or null if there is none
-- column sidecar_sha256: SHA-256 of its bytes
-- column sidecar_evidence: its document
-- column sidecar_disagrees: it names another conversation or recording
-- column sidecar_named: what it names
-- column sidecar_has_tags_field: it has a field for tags
-- column sidecar_tag_count: tags in it
-- column manifest_has_tags_field: a manifest has a field for tags
-- column manifest_tag_count: tags in it
-- column manifest_evidence: its document
-- column media_type: kind of media
-- column media_subtype: Trunk, Station, Consult, Screen, Snippet
-- column recording_start: start (UTC)
-- column recording_end: end (UTC)
-- column times_as_written: start and end as written
-- column has_zone: they say which zone they are in
-- column duration_ms: duration in milliseconds
-- column initial_direction: inbound or outbound
-- column file_state: the vendor's state of the recording
-- column archive_date: when it was or will be archived (UTC)
-- column delete_date: when it was or will be deleted (UTC)
-- column export_date: when its export was scheduled (UTC)
-- column exported_at: when its export was stamped (UTC)
-- column region: region of the recording
-- column edge_id: edge that carried its session
-- column metadata_document_sha256: SHA-256 of the recording interface's answer, as first received
-- column metadata_seen_at: when that answer was first received (UTC)
-- column orphan_evidence: the orphan list's entry
-- column failure_evidence: the job's list of failed recordings
-- column failed_job_id: that job
-- column export_job_id: the newest job that covers the conversation
-- column export_requested_at: when it was made (UTC)
-- column covering_jobs: jobs that cover the conversation
-- column unfinished_jobs: of these, not FULFILLED
-- column excluding_jobs: of these, FULFILLED without sensitive recordings, with some skipped
-- column screenless_jobs: of these, FULFILLED without screen recordings
-- column job_evidence: their documents
-- column session_id: session it was recorded in
-- column session_purpose: participant of that session
-- column leg_users: agents whose leg was recorded
-- column user_ids: agents in it
-- column conversation_start: start of the conversation (UTC)
-- column conversation_end: end of the conversation (UTC)
-- column starts_about: the best guess of when it began, for windows and watermarks (UTC)
-- column starts_before: the latest that the conversation can have begun (UTC)
WITH keys AS (
    SELECT k.*, count(*) FILTER (NOT k.in_captures) OVER (PARTITION BY k.partition_date, k.conversation_id) AS recordings
    FROM staging.recording_keys AS k
    WHERE k.partition_date >= $window_start AND k.partition_date < $window_end
),

metadata AS (
    SELECT * FROM staging.recording_metadata
    WHERE is_current AND recording_id IS NOT NULL AND partition_date >= $window_start AND partition_date < $window_end
    QUALIFY row_number() OVER (
        PARTITION BY partition_date, key_conversation_id, recording_id ORDER BY exported_date DESC NULLS LAST, document_sha256
    ) = 1
),

current_documents AS (
    SELECT partition_date, resource, subject, conversation_id, recording_id, document_sha256, first_seen_at,
        {'uri': document_uri, 'sha256': document_sha256, 'what': resource || ' document', 'observed_at': first_seen_at}
            AS evidence
    FROM staging.documents
    WHERE is_current AND partition_date >= $window_start AND partition_date < $window_end
    QUALIFY row_number() OVER (
        PARTITION BY partition_date, resource, subject, recording_id ORDER BY first_seen_at DESC, content_sha256
    ) = 1
),

manifests AS (
    SELECT m.partition_date, m.conversation_id, m.recording_id,
        bool_or(coalesce(m.has_tags_field, false)) AS has_tags_field, max(coalesce(cardinality(m.tags), 0)) AS tag_count,
        arg_min(d.evidence, m.export_id) AS evidence
    FROM staging.export_manifests AS m
    LEFT JOIN current_documents AS d
        ON d.partition_date = m.partition_date AND d.resource = 'export_manifests' AND d.subject = m.export_id
        AND d.recording_id = m.recording_id
    WHERE m.is_current AND m.partition_date >= $window_start AND m.partition_date < $window_end
    GROUP BY m.partition_date, m.conversation_id, m.recording_id
),

orphans AS (
    SELECT o.partition_date, coalesce(o.conversation_id, '') AS conversation_id,
        coalesce(o.recording_id, 'orphan:' || o.orphan_id) AS recording_id, arg_min(d.evidence, o.orphan_id) AS evidence
    FROM staging.orphan_recordings AS o
    LEFT JOIN current_documents AS d
        ON d.partition_date = o.partition_date AND d.resource = 'orphan_recordings' AND d.subject = o.orphan_id
    WHERE o.is_current AND o.partition_date >= $window_start AND o.partition_date < $window_end
    GROUP BY ALL
),

failures AS (
    SELECT f.partition_date, f.conversation_id, f.recording_id, min(f.job_id) AS job_id,
        arg_min(d.evidence, f.job_id) AS evidence
    FROM staging.export_failures AS f
    LEFT JOIN current_documents AS d
        ON d.partition_date = f.partition_date AND d.resource = 'export_failures' AND d.subject = f.job_id
        AND d.recording_id = f.recording_id
    WHERE f.is_current AND f.partition_date >= $window_start AND f.partition_date < $window_end
    GROUP BY f.partition_date, f.conversation_id, f.recording_id
),

joined AS (
    -- Narrow: the wide columns are joined again in the end, instead of being carried through every step.
    SELECT k.partition_date, k.conversation_id, k.recording_id, k.recordings, s.user_ids AS named_users,
        coalesce(m.session_id, k.session_id) AS named_session_id,
        coalesce(c.conversation_start, s.start_time, m.start_time, o.hour_start) AS starts_about, c.conversation_end,
        -- Times in documents may lack their fraction, and a path tells the hour alone.
        coalesce(
            c.conversation_start, coalesce(s.start_time, m.start_time) + INTERVAL 1 SECOND, o.hour_start + INTERVAL 1 HOUR
        ) AS starts_before
    FROM keys AS k
    LEFT JOIN staging.media_objects AS o
        ON o.partition_date = k.partition_date AND o.conversation_id = k.conversation_id AND o.recording_id = k.recording_id
    LEFT JOIN staging.sidecar_objects AS s
        ON s.partition_date = k.partition_date AND s.conversation_id = k.conversation_id AND s.recording_id = k.recording_id
    LEFT JOIN metadata AS m
        ON m.partition_date = k.partition_date AND m.key_conversation_id = k.conversation_id AND m.recording_id = k.recording_id
    LEFT JOIN staging.conversation_facts AS c
        ON c.partition_date = k.partition_date AND c.conversation_id = k.conversation_id
),

session_candidates AS (
    SELECT j.partition_date, j.conversation_id, j.recording_id, s.session_id, s.purpose, s.participant_id, s.user_id, s.edge_id,
        CASE
            WHEN j.named_session_id = s.session_id THEN 1
            WHEN j.named_session_id = s.peer_id THEN 2
            WHEN j.named_session_id IS NULL AND s.is_recorded AND list_contains(j.named_users, s.user_id) THEN 3
            WHEN j.named_session_id IS NULL AND s.is_recorded AND j.recordings = 1 THEN 4
        END AS match
    FROM joined AS j
    INNER JOIN staging.sessions AS s ON s.partition_date = j.partition_date AND s.conversation_id = j.conversation_id
),

sessions AS (
    SELECT partition_date, conversation_id, recording_id,
        CASE
            WHEN min(match) <= 2 THEN arg_min(session_id, (match, purpose NOT IN ('agent', 'user'), session_id))
            WHEN count(DISTINCT session_id) FILTER (match = 3) = 1 THEN any_value(session_id) FILTER (match = 3)
            WHEN count(DISTINCT session_id) FILTER (match = 4) = 1 THEN any_value(session_id) FILTER (match = 4)
        END AS session_id,
        CASE
            WHEN min(match) <= 2 THEN arg_min(purpose, (match, purpose NOT IN ('agent', 'user'), session_id))
            WHEN count(DISTINCT session_id) FILTER (match = 3) = 1 THEN any_value(purpose) FILTER (match = 3)
            WHEN count(DISTINCT session_id) FILTER (match = 4) = 1 THEN any_value(purpose) FILTER (match = 4)
        END AS purpose,
        arg_min(edge_id, (match, session_id)) AS edge_id,
        list_sort(list_distinct(list(user_id) FILTER (match <= 3 AND purpose IN ('agent', 'user') AND user_id IS NOT NULL)))
            AS leg_users
    FROM session_candidates
    WHERE match IS NOT NULL
    GROUP BY partition_date, conversation_id, recording_id
),

jobs AS (
    SELECT * FROM staging.export_jobs
    WHERE is_current AND action = 'EXPORT' AND partition_date >= $window_start AND partition_date < $window_end
),

places AS (
    -- Recordings between the same bounds of jobs are covered by the same jobs: few sets, however many recordings.
    SELECT j.partition_date, j.conversation_id, j.recording_id, j.starts_about,
        coalesce(j.conversation_end, j.starts_about) AS ends_about,
        len(list_filter(b.starts, lambda bound: bound <= coalesce(j.conversation_end, j.starts_about))) AS begun,
        len(list_filter(b.ends, lambda bound: bound <= j.starts_about)) AS ended
    FROM joined AS j
    INNER JOIN (
        SELECT partition_date, list(interval_start) AS starts, list(interval_end) AS ends
        FROM jobs
        GROUP BY partition_date
    ) AS b ON b.partition_date = j.partition_date
    WHERE j.starts_about IS NOT NULL
),

job_sets AS (
    SELECT p.partition_date, p.begun, p.ended,
        arg_max(e.job_id, (e.requested_at, e.job_id)) AS job_id,
        arg_max(e.requested_at, (e.requested_at, e.job_id)) AS requested_at,
        count(*) AS covering,
        count(*) FILTER (e.job_state <> 'FULFILLED') AS unfinished,
        count(*) FILTER (e.job_state = 'FULFILLED' AND NOT coalesce(e.include_sensitive, false) AND e.total_skipped > 0)
            AS excluding,
        count(*) FILTER (e.job_state = 'FULFILLED' AND NOT coalesce(e.include_screen, true)) AS screenless,
        list(d.evidence ORDER BY e.job_id) FILTER (d.evidence IS NOT NULL) AS evidence
    FROM (
        SELECT partition_date, begun, ended, any_value(starts_about) AS starts_about, any_value(ends_about) AS ends_about
        FROM places
        GROUP BY partition_date, begun, ended
    ) AS p
    INNER JOIN jobs AS e
        ON e.partition_date = p.partition_date AND e.interval_start <= p.ends_about AND e.interval_end > p.starts_about
    LEFT JOIN current_documents AS d
        ON d.partition_date = e.partition_date AND d.resource = 'export_jobs' AND d.subject = e.job_id
    GROUP BY p.partition_date, p.begun, p.ended
),

organization AS (
    SELECT partition_date, max(organization_id) AS organization_id
    FROM staging.receipts
    WHERE partition_date >= $window_start AND partition_date < $window_end
    GROUP BY partition_date
)

SELECT
    j.partition_date,
    j.conversation_id,
    j.recording_id,
    coalesce(o.organization_id, g.organization_id) AS organization_id,
    k.in_sessions,
    k.in_captures,
    k.in_orphans,
    k.in_manifests,
    k.in_metadata,
    k.in_failures,
    k.in_objects,
    coalesce(o.is_live, false) AS has_object,
    coalesce(o.is_live AND o.object_bytes > 0, false) AS has_content,
    o.object_uri AS object_uri,
    o.version_id AS object_version_id,
    o.object_bytes AS object_bytes,
    o.last_modified AS object_last_modified,
    o.bucket_region AS bucket_region,
    o.hour_start AS hour_start,
    coalesce(o.live_keys, 0) AS live_keys,
    coalesce(o.distinct_contents, 0) AS distinct_contents,
    coalesce(o.key_versions, 0) AS key_versions,
    coalesce(o.earlier_sha256, []) AS digests,
    o.media_sha256 AS media_sha256,
    o.media_md5 AS media_md5,
    o.media_hashed_at AS media_hashed_at,
    o.digest_error AS digest_error,
    coalesce(o.all_uris, []) AS object_evidence,
    s.sidecar_uri AS sidecar_uri,
    s.document_state AS sidecar_state,
    s.document_sha256 AS sidecar_sha256,
    s.evidence AS sidecar_evidence,
    coalesce(s.disagrees, false) AS sidecar_disagrees,
    concat_ws('/', s.document_conversation_id, s.document_recording_id) AS sidecar_named,
    coalesce(s.has_tags_field, false) AS sidecar_has_tags_field,
    coalesce(s.tag_count, 0) AS sidecar_tag_count,
    coalesce(n.has_tags_field, false) AS manifest_has_tags_field,
    coalesce(n.tag_count, 0) AS manifest_tag_count,
    n.evidence AS manifest_evidence,
    coalesce(s.media_type, m.media) AS media_type,
    coalesce(s.media_subtype, m.media_subtype) AS media_subtype,
    coalesce(s.start_time, m.start_time) AS recording_start,
    coalesce(s.end_time, m.end_time) AS recording_end,
    {
        'start': CASE WHEN s.document_state = 'ok' THEN s.start_text ELSE m.start_text END,
        'end': CASE WHEN s.document_state = 'ok' THEN s.end_text ELSE m.end_text END
    } AS times_as_written,
    coalesce(s.has_zone, true) AND coalesce(m.has_zone, true) AS has_zone,
    s.duration_ms AS duration_ms,
    lower(s.initial_direction) AS initial_direction,
    m.file_state AS file_state,
    m.archive_date AS archive_date,
    m.delete_date AS delete_date,
    m.export_date AS export_date,
    m.exported_date AS exported_at,
    m.region AS region,
    x.edge_id AS edge_id,
    CASE WHEN k.in_metadata THEN d.document_sha256 END AS metadata_document_sha256,
    d.first_seen_at AS metadata_seen_at,
    p.evidence AS orphan_evidence,
    f.evidence AS failure_evidence,
    f.job_id AS failed_job_id,
    b.job_id AS export_job_id,
    b.requested_at AS export_requested_at,
    coalesce(b.covering, 0) AS covering_jobs,
    coalesce(b.unfinished, 0) AS unfinished_jobs,
    coalesce(b.excluding, 0) AS excluding_jobs,
    coalesce(b.screenless, 0) AS screenless_jobs,
    coalesce(b.evidence, []) AS job_evidence,
    coalesce(j.named_session_id, x.session_id) AS session_id,
    x.purpose AS session_purpose,
    coalesce(x.leg_users, []) AS leg_users,
    coalesce(list_sort(s.user_ids), nullif(x.leg_users, []), c.user_ids, []) AS user_ids,
    c.conversation_start AS conversation_start,
    c.conversation_end AS conversation_end,
    j.starts_about,
    j.starts_before
FROM keys AS k
INNER JOIN joined AS j
    ON j.partition_date = k.partition_date AND j.conversation_id = k.conversation_id AND j.recording_id = k.recording_id
LEFT JOIN staging.media_objects AS o
    ON o.partition_date = k.partition_date AND o.conversation_id = k.conversation_id AND o.recording_id = k.recording_id
LEFT JOIN staging.sidecar_objects AS s
    ON s.partition_date = k.partition_date AND s.conversation_id = k.conversation_id AND s.recording_id = k.recording_id
LEFT JOIN metadata AS m
    ON m.partition_date = k.partition_date AND m.key_conversation_id = k.conversation_id AND m.recording_id = k.recording_id
LEFT JOIN staging.conversation_facts AS c
    ON c.partition_date = k.partition_date AND c.conversation_id = k.conversation_id
LEFT JOIN manifests AS n
    ON n.partition_date = k.partition_date AND n.conversation_id = k.conversation_id AND n.recording_id = k.recording_id
LEFT JOIN orphans AS p
    ON p.partition_date = k.partition_date AND p.conversation_id = k.conversation_id AND p.recording_id = k.recording_id
LEFT JOIN failures AS f
    ON f.partition_date = k.partition_date AND f.conversation_id = k.conversation_id AND f.recording_id = k.recording_id
LEFT JOIN sessions AS x
    ON x.partition_date = k.partition_date AND x.conversation_id = k.conversation_id AND x.recording_id = k.recording_id
LEFT JOIN places AS y
    ON y.partition_date = k.partition_date AND y.conversation_id = k.conversation_id AND y.recording_id = k.recording_id
LEFT JOIN job_sets AS b ON b.partition_date = y.partition_date AND b.begun = y.begun AND b.ended = y.ended
LEFT JOIN current_documents AS d
    ON d.partition_date = k.partition_date AND d.resource = 'recording_metadata' AND d.subject = k.conversation_id
LEFT JOIN organization AS g ON g.partition_date = k.partition_date
