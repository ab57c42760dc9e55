-- Faults of the exported media and its sidecar: DOCUMENTS_DISAGREE, DUPLICATE_EXPORT, FOREIGN_ORGANISATION, OBJECT_CHANGED,
-- OBJECT_EMPTY, OBJECT_UNREADABLE, ORPHAN_OBJECT, ORPHAN_RECORDING, SIDECAR_MISSING, SIDECAR_UNREADABLE. An object whose key
-- names no recording has a row `object:<key>`: UNRECOGNISED_OBJECT. The folder of another organisation than the API's (without
-- the API: than that of most objects) has a row `organization:<id>`: FOREIGN_ORGANISATION. If a whole source failed, the rows
-- of its unreadable objects name that source, and custody.gaps makes one row of them.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, reason
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording, `object:<key>` or `organization:<id>`
-- column reason: code of the reason
-- column detail: the particulars, without tag values
-- column evidence: documents and objects that prove it
-- column recoverable_until: until when something can be done (UTC), where that is known
-- column failed_source: source that failed as a whole; null if only this object could not be read
WITH failed AS (
    SELECT partition_date, list(resource) AS sources
    FROM staging.receipts
    WHERE is_newest AND receipt_state = 'failed' AND resource IN ('media_digests', 'export_sidecars')
    GROUP BY partition_date
),

asked AS (
    SELECT partition_date, max(finished_at) AS asked_at
    FROM staging.receipts
    WHERE is_current AND resource = 'recording_metadata'
    GROUP BY partition_date
),

in_two_conversations AS (
    -- Conversations below which the bucket has media of one recording.
    SELECT partition_date, lower(recording_id) AS recording_id,
        array_to_string(list(DISTINCT conversation_id ORDER BY conversation_id), ', ') AS conversation_ids
    FROM staging.media_objects
    WHERE is_live
    GROUP BY partition_date, lower(recording_id)
    HAVING count(DISTINCT conversation_id) > 1
),

recordings AS (
    SELECT r.*, coalesce(f.sources, []) AS failed_sources, coalesce(m.live_organizations, 0) AS live_organizations,
        CASE WHEN r.has_object THEN t.conversation_ids END AS conversation_ids,
        c.metadata_read, c.metadata_recordings, c.metadata_evidence, c.names_another, c.single_evidence, a.asked_at
    FROM staging.recordings AS r
    INNER JOIN staging.conversation_facts AS c USING (partition_date, conversation_id)
    LEFT JOIN staging.media_objects AS m USING (partition_date, conversation_id, recording_id)
    LEFT JOIN failed AS f USING (partition_date)
    LEFT JOIN asked AS a USING (partition_date)
    LEFT JOIN in_two_conversations AS t
        ON t.partition_date = r.partition_date AND t.recording_id = lower(r.recording_id)
),

findings AS (
    SELECT *, 'OBJECT_EMPTY' AS reason, object_uri || ' has 0 bytes' AS detail, object_evidence AS evidence
    FROM recordings
    WHERE has_object AND NOT has_content
    UNION ALL
    SELECT *, 'OBJECT_UNREADABLE',
        coalesce('hashing failed: ' || digest_error, 'no digest was taken'),
        object_evidence
    FROM recordings
    WHERE has_content AND media_sha256 IS NULL
    UNION ALL
    SELECT *, 'OBJECT_CHANGED',
        greatest(distinct_contents, len(digests))::VARCHAR || ' different contents'
            || coalesce(', SHA-256 ' || nullif(array_to_string(digests, ', '), ''), ''),
        object_evidence
    FROM recordings
    WHERE has_object AND (distinct_contents > 1 OR len(digests) > 1)
    UNION ALL
    SELECT *, 'DUPLICATE_EXPORT',
        live_keys::VARCHAR || ' keys, ' || key_versions::VARCHAR || ' versions, one content',
        object_evidence
    FROM recordings
    WHERE has_content AND distinct_contents = 1 AND len(digests) <= 1 AND (live_keys > 1 OR key_versions > 1)
        AND live_organizations < 2
    UNION ALL
    SELECT *, 'FOREIGN_ORGANISATION', 'its keys lie in the folders of ' || live_organizations || ' organisations', object_evidence
    FROM recordings
    WHERE live_organizations > 1
    UNION ALL
    SELECT *, 'ORPHAN_OBJECT',
        CASE
            WHEN metadata_recordings = 0 THEN 'the recording interface lists no recording for the conversation'
            ELSE 'the recording interface lists ' || metadata_recordings::VARCHAR || ' other recordings for the conversation'
        END,
        list_append(object_evidence, metadata_evidence)
    FROM recordings
    WHERE has_object AND metadata_read = 'ok' AND NOT in_metadata
    UNION ALL
    SELECT *, 'ORPHAN_RECORDING', 'listed by the orphan recordings interface', [orphan_evidence]
    FROM recordings
    WHERE in_orphans
    UNION ALL
    SELECT *, 'SIDECAR_MISSING', 'no sidecar beside ' || object_uri, object_evidence
    FROM recordings
    WHERE has_object AND sidecar_uri IS NULL
    UNION ALL
    SELECT *, 'SIDECAR_UNREADABLE', sidecar_uri || ': ' || sidecar_state, [sidecar_evidence]
    FROM recordings
    WHERE sidecar_uri IS NOT NULL AND sidecar_state <> 'ok'
    UNION ALL
    SELECT *, 'DOCUMENTS_DISAGREE',
        CASE
            WHEN sidecar_disagrees THEN 'the sidecar names ' || sidecar_named
            WHEN conversation_ids IS NOT NULL THEN 'the bucket has it below several conversations: ' || conversation_ids
            ELSE 'the answer for this conversation names another one'
        END,
        list_filter(
            list_concat(
                [sidecar_evidence, metadata_evidence, single_evidence],
                CASE WHEN conversation_ids IS NOT NULL THEN object_evidence END
            ),
            lambda x: x IS NOT NULL
        )
    FROM recordings
    WHERE sidecar_disagrees OR names_another OR conversation_ids IS NOT NULL
),

folders AS (
    SELECT o.partition_date, lower(o.organization_id) AS organization_id, any_value(o.bucket) AS bucket,
        count(*) AS objects, min(o.object_key) AS first_key, max(o.last_modified) AS last_modified
    FROM staging.export_objects AS o
    WHERE o.is_current AND o.is_latest AND NOT o.is_delete_marker AND o.organization_id IS NOT NULL
    GROUP BY o.partition_date, lower(o.organization_id)
),

foreign_folders AS (
    SELECT f.*, coalesce(r.organization_id, arg_max(f.organization_id, (f.objects, f.organization_id)) OVER (
        PARTITION BY f.partition_date
    )) AS own
    FROM folders AS f
    LEFT JOIN (
        SELECT partition_date, lower(max(organization_id)) AS organization_id
        FROM staging.receipts
        WHERE is_newest
        GROUP BY partition_date
    ) AS r USING (partition_date)
    QUALIFY f.organization_id <> own
),

unrecognised AS (
    SELECT
        partition_date,
        coalesce(conversation_id, '') AS conversation_id,
        object_key,
        's3://' || bucket || '/' || object_key AS uri,
        CASE key_finding
            WHEN 'bad_conversation_id' THEN 'its folder is named after no conversation'
            WHEN 'unsafe_key' THEN 'its key has parts that no recording has'
            ELSE 'its key names no recording'
        END AS finding,
        max(object_bytes) AS object_bytes,
        max(last_modified) AS last_modified
    FROM staging.export_objects
    WHERE is_current AND is_latest AND NOT is_delete_marker AND key_finding IS NOT NULL
    GROUP BY ALL
)

SELECT
    partition_date,
    conversation_id,
    recording_id,
    reason,
    detail,
    evidence,
    -- Protected from deletion, it is there after that date.
    CASE WHEN reason = 'OBJECT_EMPTY' AND NOT coalesce(file_state = 'AVAILABLE' AND delete_date <= asked_at, false)
        THEN delete_date END AS recoverable_until,
    CASE
        WHEN reason = 'OBJECT_UNREADABLE' AND list_contains(failed_sources, 'media_digests') THEN 'media_digests'
        WHEN reason = 'SIDECAR_UNREADABLE' AND sidecar_state = 'not_received'
            AND list_contains(failed_sources, 'export_sidecars') THEN 'export_sidecars'
    END AS failed_source
FROM findings
UNION ALL
SELECT
    partition_date,
    conversation_id,
    'object:' || object_key,
    'UNRECOGNISED_OBJECT',
    uri || ': ' || finding,
    [{'uri': uri, 'sha256': NULL::VARCHAR, 'what': object_bytes::VARCHAR || ' bytes', 'observed_at': last_modified}],
    NULL,
    NULL
FROM unrecognised
UNION ALL
SELECT
    partition_date,
    '',
    'organization:' || organization_id,
    'FOREIGN_ORGANISATION',
    objects || ' objects lie in the folder of organisation ' || organization_id || '; this is ' || own,
    [
        {
            'uri': 's3://' || bucket || '/' || first_key, 'sha256': NULL::VARCHAR, 'what': 'the first of them',
            'observed_at': last_modified
        }
    ],
    NULL,
    NULL
FROM foreign_folders
