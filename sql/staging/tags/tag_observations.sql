-- Every tag that any source ever showed for the night's conversations, one row per participant, key, source and value,
-- with the time of the first observation. Earlier loads count too, so an overwritten value keeps its row.
--
-- Values are verbatim. `recording_id` is empty if the tag belongs to the conversation and not to a recording.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, participant_id, tag_key, source, tag_value
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording, for tags in a sidecar or manifest; otherwise empty
-- column participant_id: participant; empty if the source names none
-- column purpose: purpose of the participant; empty if unknown
-- column tag_key: key, as set
-- column tag_value [pii]: value, verbatim; null if the source says null
-- column source: conversation, customattributes, capture, event, details, manifest or sidecar
-- column observed_at: when the source first showed this value (UTC); for events, when the tag was set
-- column is_current: true if the newest load shows this value; for captures, if the latest capture does; null for an event
-- column is_standing: true if the source's newest document has this value; the latest capture or event that names the key
-- column seen_at: when the source last showed this value (UTC)
-- column is_cut: true if the analytics job's limit of 1,024 characters may have cut the key or value
-- column document_uri: landing file and row of the document that shows the value
-- column document_sha256: SHA-256 of that document
-- column source_uri: source of the document
WITH newest_reads AS (
    -- Not every load reads a conversation by itself: the last document that came stands.
    SELECT partition_date, key_conversation_id, landing_id
    FROM (
        SELECT DISTINCT partition_date, key_conversation_id, landing_id, 'conversations' AS resource FROM staging.conversations
        WHERE document_state = 'ok'
        UNION ALL
        SELECT DISTINCT partition_date, key_conversation_id, landing_id, 'conversation_attributes'
        FROM staging.conversation_attributes
        WHERE document_state = 'ok'
    )
    INNER JOIN staging.receipts USING (partition_date, resource, landing_id)
    QUALIFY row_number() OVER (
        PARTITION BY partition_date, key_conversation_id, resource ORDER BY "sequence" DESC, landing_id DESC
    ) = 1
),

per_participant AS (
    SELECT partition_date, conversation_id, '' AS recording_id, 'details' AS source, unnest(participants) AS p,
        fetched_at AS observed_at, is_current, is_current AS is_standing, document_uri, document_sha256, source_uri
    FROM (
        SELECT partition_date, conversation_id, is_current, document_uri, document_sha256, source_uri, fetched_at,
            [{'participant_id': p.participant_id, 'purpose': p.purpose, 'attributes': p.attributes} FOR p IN participants]
                AS participants
        FROM staging.conversation_details
        WHERE document_state = 'ok'
    )
    UNION ALL
    SELECT partition_date, conversation_id, '', 'conversation', unnest(participants),
        fetched_at, is_current, is_standing, document_uri, document_sha256, source_uri
    FROM (
        SELECT c.partition_date, c.key_conversation_id AS conversation_id, c.is_current, c.document_uri, c.document_sha256,
            c.source_uri, c.fetched_at, n.landing_id IS NOT NULL AS is_standing,
            [{'participant_id': p.participant_id, 'purpose': p.purpose, 'attributes': p.attributes} FOR p IN c.participants]
                AS participants
        FROM staging.conversations AS c
        LEFT JOIN newest_reads AS n USING (partition_date, key_conversation_id, landing_id)
        WHERE c.document_state = 'ok'
    )
    UNION ALL
    SELECT partition_date, key_conversation_id, key_recording_id, 'sidecar', unnest(participants),
        fetched_at, is_current, is_current, document_uri, document_sha256, source_uri
    FROM staging.export_sidecars
    WHERE document_state = 'ok' AND key_recording_id IS NOT NULL
        AND coalesce(lower(conversation_id) = lower(key_conversation_id), true)
        AND coalesce(lower(recording_id) = lower(key_recording_id), true)
),

seen_live AS (
    SELECT partition_date, conversation_id, 'capture' AS source, p.participant_id AS participant_id, p.purpose AS purpose,
        unnest(map_entries(p.attributes)) AS attribute, observed_at, is_latest, document_uri, document_sha256, source_uri
    FROM (
        SELECT partition_date, conversation_id, unnest(participants) AS p, observed_at, is_latest, document_uri,
            document_sha256, source_uri
        FROM staging.captures
        WHERE document_state = 'ok'
    )
    UNION ALL
    SELECT partition_date, conversation_id, 'capture', NULL, NULL, unnest(typed_attributes), observed_at, is_latest,
        document_uri, document_sha256, source_uri
    FROM staging.captures
    WHERE document_state = 'ok'
    UNION ALL
    -- No tag was set after its event came: the sender's clock is ahead.
    SELECT partition_date, conversation_id, 'event', participant_id, NULL, unnest(map_entries(attributes)),
        least(event_time, received_at), NULL, document_uri, document_sha256, source_uri
    FROM staging.conversation_events
),

attributes AS (
    SELECT partition_date, conversation_id, recording_id, source, p.participant_id AS participant_id, p.purpose AS purpose,
        unnest(map_entries(p.attributes)) AS attribute,
        observed_at, is_current, is_standing, document_uri, document_sha256, source_uri
    FROM per_participant
    UNION ALL
    SELECT partition_date, conversation_id, '', source, participant_id, purpose, attribute, observed_at, is_latest,
        -- The last that was seen of a tag stands, also if the tag is gone since.
        observed_at = max(observed_at) OVER (
            PARTITION BY partition_date, conversation_id, source, participant_id, attribute.key
        ),
        document_uri, document_sha256, source_uri
    FROM seen_live
    UNION ALL
    SELECT partition_date, key_conversation_id, key_recording_id, 'sidecar', NULL, NULL,
        unnest(flatten([map_entries(found) FOR found IN list_prepend(tags, other_tags)])),
        fetched_at, is_current, is_current, document_uri, document_sha256, source_uri
    FROM staging.export_sidecars
    WHERE document_state = 'ok' AND key_recording_id IS NOT NULL
        AND coalesce(lower(conversation_id) = lower(key_conversation_id), true)
        AND coalesce(lower(recording_id) = lower(key_recording_id), true)
    UNION ALL
    SELECT partition_date, coalesce(conversation_id, ''), recording_id, 'manifest', NULL, NULL,
        unnest(flatten([map_entries(found) FOR found IN list_prepend(tags, other_tags)])),
        fetched_at, is_current, is_current, document_uri, document_sha256, source_uri
    FROM staging.export_manifests
    WHERE document_state = 'ok' AND recording_id IS NOT NULL
    UNION ALL
    SELECT a.partition_date, a.key_conversation_id, '', 'customattributes', a.participant_id, NULL,
        {'key': a.attribute_key, 'value': a.attribute_value},
        a.fetched_at, a.is_current, n.landing_id IS NOT NULL, a.document_uri, a.document_sha256, a.source_uri
    FROM staging.conversation_attributes AS a
    LEFT JOIN newest_reads AS n USING (partition_date, key_conversation_id, landing_id)
    WHERE a.document_state = 'ok' AND a.attribute_key IS NOT NULL
        AND coalesce(lower(a.conversation_id) = lower(a.key_conversation_id), true)
)

SELECT
    a.partition_date,
    a.conversation_id,
    coalesce(a.recording_id, '') AS recording_id,
    coalesce(a.participant_id, '') AS participant_id,
    coalesce(min(lower(a.purpose)), min(p.purpose), '') AS purpose,
    a.attribute.key AS tag_key,
    a.attribute.value AS tag_value,
    a.source,
    min(a.observed_at) AS observed_at,
    bool_or(a.is_current) AS is_current,
    coalesce(bool_or(a.is_standing), false) AS is_standing,
    max(a.observed_at) AS seen_at,
    -- A sidecar with participants is a document of the analytics job, and is cut in the same way.
    (a.source = 'details' OR (a.source = 'sidecar' AND coalesce(a.participant_id, '') <> ''))
        AND (at_job_limit(a.attribute.key) OR coalesce(at_job_limit(a.attribute.value), false)) AS is_cut,
    arg_min(a.document_uri, (a.observed_at, a.document_uri)) AS document_uri,
    arg_min(a.document_sha256, (a.observed_at, a.document_uri)) AS document_sha256,
    arg_min(a.source_uri, (a.observed_at, a.document_uri)) AS source_uri
FROM attributes AS a
LEFT JOIN staging.participants AS p USING (partition_date, conversation_id, participant_id)
WHERE a.conversation_id IS NOT NULL
GROUP BY a.partition_date, a.conversation_id, coalesce(a.recording_id, ''), coalesce(a.participant_id, ''),
    a.attribute.key, a.attribute.value, a.source
