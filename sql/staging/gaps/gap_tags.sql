-- Faults of a recording's tags, one row per reason with all keys concerned: EXPORT_DROPPED_TAGS, REQUIRED_TAG_MISSING,
-- TAGS_ON_OTHER_PARTICIPANT, TAGS_SET_AFTER_END, TAG_CHANGED_LATER, TAG_CONFLICT, TAG_EMPTY, TAG_KEY_PREFIXED,
-- TAG_KEY_VARIANT, TAG_NEVER_SET, TAG_TRUNCATED, UNMAPPED_TAG.
--
-- Details name keys, never values.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, reason
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column reason: code of the reason
-- column detail: the particulars, without tag values
-- column evidence: documents and objects that prove it
-- column tag_keys: keys concerned, sorted; null where no single key is
WITH odd_tags AS (
    SELECT *, {
        'uri': document_uri, 'sha256': document_sha256, 'what': source || ' document', 'observed_at': observed_at
    } AS evidence
    FROM staging.resolved_tags
    WHERE (is_cut OR conflicting_values > 1 OR NOT is_mapped)
),

mapped AS (
    SELECT * FROM staging.mapped_tags
    WHERE applies AND status <> 'found'
),

astray AS (
    SELECT m.partition_date, m.conversation_id, m.recording_id, m.status, m.attribute, {
        'uri': t.document_uri, 'sha256': t.document_sha256, 'what': t.source || ' document', 'observed_at': t.observed_at
    } AS evidence
    FROM mapped AS m
    INNER JOIN staging.resolved_tags AS t USING (partition_date, conversation_id, recording_id, tag_key)
    WHERE m.status IN ('elsewhere', 'prefixed', 'variant')
),

aliases AS (
    -- One row per key: the aliases of a column that give different values.
    SELECT partition_date, conversation_id, recording_id, unnest(conflicting_keys) AS tag_key
    FROM staging.mapped_tags
    WHERE len(conflicting_keys) > 0
),

tagged AS (
    SELECT partition_date, conversation_id, recording_id, count(*) AS tags
    FROM staging.resolved_tags
    GROUP BY partition_date, conversation_id, recording_id
),

recordings AS (
    SELECT r.partition_date, r.conversation_id, r.recording_id, r.sidecar_state, r.sidecar_has_tags_field,
        r.sidecar_tag_count, r.sidecar_evidence, r.manifest_has_tags_field, r.manifest_tag_count, r.manifest_evidence,
        c.in_details, c.details_evidence, c.single_read, c.single_evidence, c.conversation_end, coalesce(t.tags, 0) AS tags
    FROM staging.recordings AS r
    INNER JOIN staging.conversation_facts AS c USING (partition_date, conversation_id)
    LEFT JOIN tagged AS t USING (partition_date, conversation_id, recording_id)
),

suspicious AS (
    -- Per participant and key: tags that only the single read has, and tags with several values.
    SELECT partition_date, conversation_id, participant_id, tag_key,
        bool_or(source = 'conversation' AND is_current) AND NOT bool_or(source = 'details') AND NOT at_job_limit(tag_key)
            AS is_late,
        coalesce(min(coalesce('=' || tag_value, 'null')) FILTER (NOT is_cut) <> max(coalesce('=' || tag_value, 'null'))
            FILTER (NOT is_cut), false) AS is_changed,
        -- Only the latest capture has the tag. The tag is late if its first capture was after the end and the conversation
        -- was not read.
        CASE WHEN bool_or(source = 'capture' AND is_current) AND NOT bool_or(source IN ('conversation', 'details'))
            THEN min(observed_at) END AS captured_at
    FROM staging.tag_observations
    WHERE recording_id = '' AND participant_id <> '' AND source <> 'customattributes'
    GROUP BY partition_date, conversation_id, participant_id, tag_key
    HAVING is_late OR is_changed OR captured_at IS NOT NULL
),

late_and_changed AS (
    SELECT s.partition_date, s.conversation_id, s.participant_id, s.tag_key, s.is_late, s.is_changed, s.captured_at,
        list_sort(list(DISTINCT {
            'uri': o.document_uri, 'sha256': o.document_sha256, 'what': o.source || ' document', 'observed_at': o.observed_at
        })) AS evidence
    FROM suspicious AS s
    INNER JOIN staging.tag_observations AS o USING (partition_date, conversation_id, participant_id, tag_key)
    WHERE o.recording_id = '' AND o.source <> 'customattributes'
    GROUP BY ALL
),

findings AS (
    SELECT partition_date, conversation_id, recording_id, 'EXPORT_DROPPED_TAGS' AS reason, NULL AS tag_key,
        list_filter([sidecar_evidence, manifest_evidence, single_evidence, details_evidence], lambda x: x IS NOT NULL) AS evidence
    FROM recordings
    WHERE tags > 0
        AND (
            (sidecar_has_tags_field AND sidecar_tag_count = 0 AND sidecar_state = 'ok')
            OR (manifest_has_tags_field AND manifest_tag_count = 0)
        )
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, 'TAG_NEVER_SET', NULL,
        list_filter([details_evidence, single_evidence], lambda x: x IS NOT NULL)
    FROM recordings
    WHERE tags = 0 AND single_read = 'ok'
    UNION ALL
    SELECT r.partition_date, r.conversation_id, r.recording_id, 'TAGS_SET_AFTER_END', l.tag_key,
        list_filter(list_prepend(r.details_evidence, l.evidence), lambda x: x IS NOT NULL)
    FROM recordings AS r
    INNER JOIN late_and_changed AS l USING (partition_date, conversation_id)
    WHERE r.in_details AND (l.is_late OR (r.single_read <> 'ok' AND l.captured_at > r.conversation_end))
    UNION ALL
    SELECT r.partition_date, r.conversation_id, r.recording_id, 'TAG_CHANGED_LATER', l.tag_key, l.evidence
    FROM recordings AS r
    INNER JOIN late_and_changed AS l USING (partition_date, conversation_id)
    WHERE l.is_changed
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, 'TAG_TRUNCATED', tag_key, [evidence]
    FROM odd_tags
    WHERE is_cut
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, 'TAG_CONFLICT', tag_key, [evidence]
    FROM odd_tags
    WHERE conflicting_values > 1
    UNION ALL
    SELECT a.partition_date, a.conversation_id, a.recording_id, 'TAG_CONFLICT', a.tag_key, [{
        'uri': t.document_uri, 'sha256': t.document_sha256, 'what': t.source || ' document', 'observed_at': t.observed_at
    }]
    FROM aliases AS a
    INNER JOIN staging.resolved_tags AS t USING (partition_date, conversation_id, recording_id, tag_key)
    UNION ALL
    SELECT r.partition_date, r.conversation_id, r.recording_id, 'UNMAPPED_TAG', r.tag_key, [r.evidence]
    FROM odd_tags AS r
    ANTI JOIN mapped AS m
        ON m.partition_date = r.partition_date AND m.conversation_id = r.conversation_id
        AND m.recording_id = r.recording_id AND m.status IN ('prefixed', 'variant') AND m.tag_key = r.tag_key
    WHERE NOT r.is_mapped
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, 'TAGS_ON_OTHER_PARTICIPANT', attribute, [evidence]
    FROM astray
    WHERE status = 'elsewhere'
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, 'TAG_KEY_PREFIXED', attribute, [evidence]
    FROM astray
    WHERE status = 'prefixed'
    UNION ALL
    SELECT partition_date, conversation_id, recording_id, 'TAG_KEY_VARIANT', attribute, [evidence]
    FROM astray
    WHERE status = 'variant'
    UNION ALL
    SELECT r.partition_date, r.conversation_id, r.recording_id, 'REQUIRED_TAG_MISSING', m.attribute,
        list_filter([r.details_evidence, r.single_evidence], lambda x: x IS NOT NULL)
    FROM recordings AS r
    INNER JOIN mapped AS m USING (partition_date, conversation_id, recording_id)
    WHERE m.required AND m.status IN ('missing', 'no_value') AND r.tags > 0
        -- A sidecar, a manifest or a capture alone does not show that the tag is nowhere.
        AND (r.in_details OR r.single_read = 'ok')
    UNION ALL
    SELECT r.partition_date, r.conversation_id, r.recording_id, 'TAG_EMPTY', m.tag_key,
        list_filter([r.details_evidence, r.single_evidence], lambda x: x IS NOT NULL)
    FROM recordings AS r
    INNER JOIN mapped AS m USING (partition_date, conversation_id, recording_id)
    WHERE m.required AND m.status = 'blank'
)

SELECT
    partition_date,
    conversation_id,
    recording_id,
    reason,
    CASE reason
        WHEN 'EXPORT_DROPPED_TAGS' THEN 'the field is there and empty'
        WHEN 'TAG_NEVER_SET' THEN 'no participant has an attribute'
        ELSE array_to_string(list_sort(list(DISTINCT '"' || left(tag_key, 80) || '"'))[:20], ', ')
            || CASE WHEN count(DISTINCT tag_key) > 20
                THEN ' and ' || (count(DISTINCT tag_key) - 20)::VARCHAR || ' more' ELSE '' END
    END AS detail,
    list_sort(list_distinct(flatten(list(evidence))))[:20] AS evidence,
    list_sort(list(DISTINCT tag_key) FILTER (tag_key IS NOT NULL)) AS tag_keys
FROM findings
GROUP BY partition_date, conversation_id, recording_id, reason
