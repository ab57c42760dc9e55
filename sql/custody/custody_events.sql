-- Events of each recording in order of time: who, what, when, where, why, how, and the hash before and after.
-- Collecting the same content again is no event. Collecting changed content is an event, with the hash of the content
-- before. Events of the whole night (a publication, a verification, a recheck, a failed run) have neither conversation
-- nor recording.
--
-- grain: partition_date, conversation_id, recording_id, sequence
-- column partition_date DATE: UTC day of the conversation's start
-- column conversation_id VARCHAR: conversation; empty for the whole night
-- column recording_id VARCHAR: recording; empty for the whole night
-- column sequence BIGINT: position in order of time, from 1
-- column occurred_at TIMESTAMP: when (UTC)
-- column action VARCHAR: exported, deleted, tagged, captured, collected, changed, hashed, joined, published, verified, rechecked, packaged, held, released, accessed, erased or exception
-- column who VARCHAR: service identity or system that acted; the operator if neither is known
-- column operator VARCHAR: person or service that started the run; null for acts of the platform
-- column what VARCHAR: thing that the act changed or read, and the result
-- column where_at VARCHAR: location of that thing
-- column why VARCHAR: purpose; for an exception, the reason
-- column how VARCHAR: means
-- column tool_version VARCHAR: version of custody_pipeline; null for acts of the platform
-- column git_revision VARCHAR: commit of custody_pipeline; null outside of a work tree
-- column sha256_before VARCHAR: SHA-256 before the event, if something changed
-- column sha256_after VARCHAR: SHA-256 after the event
WITH recordings AS (
    -- Read `chain_of_custody`, not staging, so that join events are recorded before this model runs.
    SELECT partition_date, conversation_id, recording_id, export_job_id
    FROM custody.chain_of_custody
),

loads AS (
    SELECT partition_date, landing_id, "sequence",
        coalesce(collector, operator, 'unknown') AS who, operator, tool_version, git_revision
    FROM staging.receipts
),

documents_that_changed AS (
    -- Only documents with several contents have a hash before.
    SELECT partition_date, resource, subject, recording_id
    FROM staging.documents
    GROUP BY partition_date, resource, subject, recording_id
    HAVING count(*) > 1
),

contents AS (
    SELECT *, NULL AS document_sha256_before
    FROM staging.documents
    ANTI JOIN documents_that_changed USING (partition_date, resource, subject, recording_id)
    UNION ALL
    SELECT *,
        lag(document_sha256) OVER (
            PARTITION BY partition_date, resource, subject, recording_id
            -- Loads are in an order that no clock decides. A capture may be loaded later than a later one.
            ORDER BY CASE WHEN resource <> 'captures' THEN "sequence" END, first_seen_at, content_sha256
        )
    FROM staging.documents
    SEMI JOIN documents_that_changed USING (partition_date, resource, subject, recording_id)
),

documents AS (
    SELECT d.*, l.who, l.operator, l.tool_version, l.git_revision
    FROM contents AS d
    LEFT JOIN loads AS l ON l.partition_date = d.partition_date AND l.landing_id = d.landing_id
    WHERE d.conversation_id <> '' OR d.recording_id <> ''
),

digests AS (
    SELECT m.partition_date, o.conversation_id, o.recording_id, m.bucket, m.object_key, coalesce(m.version_id, '') AS version_id,
        m.sha256, min(m.hashed_at) AS hashed_at,
        -- Later loads copy the digest with its time. The first load took the digest.
        arg_min(
            {
                'method': m.method, 'who': l.who, 'operator': l.operator, 'tool_version': l.tool_version,
                'git_revision': l.git_revision
            },
            (m.hashed_at, l."sequence", m.landing_id)
        ) AS taken
    FROM staging.media_digests AS m
    INNER JOIN (
        SELECT DISTINCT partition_date, bucket, object_key, conversation_id, recording_id
        FROM staging.export_objects
        WHERE object_role = 'media' AND recording_id IS NOT NULL AND key_finding IS NULL
    ) AS o ON o.partition_date = m.partition_date AND o.bucket = m.bucket AND o.object_key = m.object_key
    LEFT JOIN loads AS l ON l.partition_date = m.partition_date AND l.landing_id = m.landing_id
    WHERE m.sha256 IS NOT NULL
    GROUP BY m.partition_date, o.conversation_id, o.recording_id, m.bucket, m.object_key, coalesce(m.version_id, ''), m.sha256
),

object_versions AS (
    -- Versions and delete markers from the listings of all loads. The bucket does not say who wrote an object.
    SELECT v.partition_date, v.conversation_id, v.recording_id, v.bucket, v.object_key, v.version_id, v.is_delete_marker,
        v.last_modified, min(d.sha256) AS sha256
    FROM (
        SELECT DISTINCT partition_date, conversation_id, recording_id, bucket, object_key,
            coalesce(version_id, '') AS version_id, is_delete_marker, last_modified
        FROM staging.export_objects
        WHERE object_role = 'media' AND recording_id IS NOT NULL AND key_finding IS NULL
    ) AS v
    LEFT JOIN staging.media_digests AS d
        ON d.partition_date = v.partition_date AND d.bucket = v.bucket AND d.object_key = v.object_key
        AND coalesce(d.version_id, '') = v.version_id AND d.last_modified = v.last_modified
    GROUP BY ALL
),

tag_events AS (
    -- A notification has the tags of several participants. No tag was set after its event came.
    SELECT partition_date, conversation_id, event_id, participant_id, min(least(event_time, received_at)) AS occurred_at,
        arg_min(map_keys(attributes), document_uri) AS tag_keys,
        arg_min(source_uri, document_uri) AS source_uri, min(document_sha256) AS document_sha256
    FROM staging.conversation_events
    WHERE cardinality(attributes) > 0
    GROUP BY partition_date, conversation_id, event_id, participant_id
),

versions AS (
    SELECT v.partition_date, v.conversation_id, v.recording_id, v.revision, v.row_sha256,
        lag(v.row_sha256) OVER (
            PARTITION BY v.partition_date, v.conversation_id, v.recording_id ORDER BY v.revision
        ) AS row_sha256_before
    FROM (
        SELECT DISTINCT partition_date, conversation_id, recording_id, revision, row_sha256
        FROM raw.row_versions
    ) AS v
),

publications AS (
    SELECT partition_date, revision, min(published_at) AS published_at, arg_min(operator, published_at) AS operator,
        arg_min(tool_version, published_at) AS tool_version, arg_min(git_revision, published_at) AS git_revision,
        arg_min(cut_uri, published_at) AS cut_uri, arg_min(cut_sha256, published_at) AS cut_sha256
    FROM raw.publications
    GROUP BY partition_date, revision
),

media_keys AS (
    SELECT DISTINCT partition_date, object_key, conversation_id, recording_id
    FROM staging.export_objects
    WHERE recording_id IS NOT NULL AND key_finding IS NULL
),

failures AS (
    -- The same answer to the same request is one event.
    SELECT partition_date, resource, subject_id, http_status, error_code, min(occurred_at) AS occurred_at,
        arg_min(message, (occurred_at, landing_id)) AS message, arg_min(landing_id, (occurred_at, landing_id)) AS landing_id
    FROM staging.fetch_failures
    GROUP BY partition_date, resource, subject_id, http_status, error_code
),

failed_reads AS (
    SELECT f.*, coalesce(r.conversation_id, k.conversation_id, '') AS conversation_id,
        coalesce(r.recording_id, k.recording_id, '') AS recording_id, l.who, l.operator, l.tool_version, l.git_revision
    FROM failures AS f
    LEFT JOIN recordings AS r ON r.partition_date = f.partition_date AND r.conversation_id = f.subject_id
    LEFT JOIN media_keys AS k ON k.partition_date = f.partition_date AND k.object_key = f.subject_id
    LEFT JOIN loads AS l ON l.partition_date = f.partition_date AND l.landing_id = f.landing_id
),

documents_of_recordings AS (
    SELECT r.partition_date, r.conversation_id, r.recording_id, d.* EXCLUDE (partition_date, conversation_id, recording_id)
    FROM recordings AS r
    INNER JOIN documents AS d
        ON d.partition_date = r.partition_date AND d.conversation_id = r.conversation_id
        AND (d.recording_id = '' OR d.recording_id = r.recording_id)
),

events AS (
    SELECT w.partition_date, w.conversation_id, w.recording_id, w.last_modified AS occurred_at,
        CASE WHEN w.is_delete_marker THEN 'deleted' ELSE 'exported' END AS action,
        CASE WHEN w.is_delete_marker THEN 'unknown' ELSE 'Genesys Cloud (presumed)' END AS who, NULL AS operator,
        'media' AS what,
        's3://' || w.bucket || '/' || w.object_key || CASE WHEN w.version_id <> '' THEN '?versionId=' || w.version_id ELSE '' END
            AS where_at,
        CASE WHEN w.is_delete_marker THEN 'unknown' ELSE 'bulk export' END AS why,
        coalesce('export job ' || r.export_job_id, 'export bucket') AS how, NULL AS tool_version, NULL AS git_revision,
        lag(w.sha256) OVER (
            PARTITION BY w.partition_date, w.bucket, w.object_key ORDER BY w.last_modified, w.version_id
        ) AS sha256_before,
        w.sha256 AS sha256_after
    FROM object_versions AS w
    LEFT JOIN recordings AS r USING (partition_date, conversation_id, recording_id)
    UNION ALL
    SELECT r.partition_date, r.conversation_id, r.recording_id, e.occurred_at, 'tagged', coalesce(e.participant_id, 'unknown'),
        NULL, array_to_string(list_sort(e.tag_keys)[:20], ', '), e.source_uri, 'script or flow', 'attribute event', NULL, NULL,
        NULL, e.document_sha256
    FROM recordings AS r
    INNER JOIN tag_events AS e USING (partition_date, conversation_id)
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, first_seen_at,
        CASE
            WHEN resource = 'captures' THEN 'captured'
            WHEN document_sha256_before IS NOT NULL THEN 'changed'
            ELSE 'collected'
        END,
        coalesce(who, 'unknown'), operator, resource || ' document', coalesce(source_uri, document_uri), 'nightly collection',
        'kept as received in ' || document_uri, tool_version, git_revision, document_sha256_before, document_sha256
    FROM documents_of_recordings
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, first_seen_at, 'exception', coalesce(who, 'unknown'), operator,
        resource || ' document', document_uri, 'the document cannot be read: ' || document_state, 'kept as received',
        tool_version, git_revision, NULL, document_sha256
    FROM documents_of_recordings
    WHERE document_state <> 'ok'
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, occurred_at, 'exception', coalesce(who, 'unknown'), operator,
        resource || ' cannot be read', subject_id, message, concat_ws(' ', 'HTTP ' || http_status, error_code), tool_version,
        git_revision, NULL, NULL
    FROM failed_reads
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, hashed_at, 'hashed', coalesce(taken.who, 'unknown'), taken.operator,
        'media',
        's3://' || bucket || '/' || object_key || CASE WHEN version_id <> '' THEN '?versionId=' || version_id ELSE '' END,
        'integrity', taken.method, taken.tool_version, taken.git_revision, NULL, sha256
    FROM digests
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, occurred_at, action, operator, operator, what, where_at, why, how,
        tool_version, git_revision, sha256_before, sha256_after
    FROM raw.acts
    UNION ALL
    SELECT v.partition_date, v.conversation_id, v.recording_id, p.published_at, 'published', coalesce(p.operator, 'unknown'),
        p.operator, 'revision ' || v.revision, p.cut_uri, 'publication', 'row of a sealed cut', p.tool_version, p.git_revision,
        v.row_sha256_before, v.row_sha256
    FROM versions AS v
    INNER JOIN publications AS p USING (partition_date, revision)
    UNION ALL
    SELECT partition_date, '', '', published_at, 'published', coalesce(operator, 'unknown'), operator, 'revision ' || revision,
        cut_uri, 'publication', 'sealed cut', tool_version, git_revision,
        lag(cut_sha256) OVER (PARTITION BY partition_date ORDER BY revision), cut_sha256
    FROM publications
)

SELECT
    partition_date,
    conversation_id,
    recording_id,
    row_number() OVER (
        PARTITION BY partition_date, conversation_id, recording_id
        ORDER BY occurred_at, action, what, where_at, sha256_after, why
    ) AS sequence,
    occurred_at,
    action,
    who,
    operator,
    what,
    where_at,
    why,
    how,
    tool_version,
    git_revision,
    sha256_before,
    sha256_after
FROM events
