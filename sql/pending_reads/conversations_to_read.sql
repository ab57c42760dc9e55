-- Conversations that the night has to read one by one, because the analytics job does not give enough. Examples are
-- values cut at 1,024 characters, missing conversations, and tags that were set after the end or that only live capture
-- saw.
--
-- `$required_tags` is JSON: a list of {"names", "queues", "flows", "scripts"}, each a list of texts. A required tag is
-- present if any participant has a value, not blanks alone, under any of its names. The tag applies to conversations that
-- touched one of its queues, flows or scripts (by name or id), or to all conversations if the three lists are empty. With
-- `$read_all`, every conversation that has a recording is read.
--
-- grain: conversation_id
-- column conversation_id: conversation to read
-- column reasons: reasons for the read: long_value, not_in_details, no_tags, required_tag_missing, captured_tag_missing, all
WITH current AS (
    SELECT partition_date, landing_id
    FROM raw.extraction_receipts
    WHERE receipt_state IN ('complete', 'partial')
    QUALIFY row_number() OVER (PARTITION BY partition_date, resource ORDER BY "sequence" DESC NULLS LAST, landing_id DESC) = 1
),

required AS (
    SELECT
        unnest(cast($required_tags::JSON AS STRUCT(names VARCHAR[], queues VARCHAR[], flows VARCHAR[], scripts VARCHAR[])[]))
            AS tag
),

queue_names AS (
    SELECT map_from_entries(list((queue_id, queue_name))) AS name_of
    FROM (
        SELECT queue_id, any_value(queue_name) AS queue_name
        FROM raw.queues
        SEMI JOIN current USING (partition_date, landing_id)
        WHERE queue_id IS NOT NULL
        GROUP BY queue_id
    )
),

script_names AS (
    SELECT map_from_entries(list((script_id, script_name))) AS name_of
    FROM (
        SELECT script_id, any_value(script_name) AS script_name
        FROM raw.published_scripts
        SEMI JOIN current USING (partition_date, landing_id)
        WHERE script_id IS NOT NULL
        GROUP BY script_id
    )
),

captured AS (
    SELECT conversation_id, list_distinct(flatten(list(keys))) AS keys
    FROM (
        SELECT conversation_id, flatten(list_transform(participants, lambda p: map_keys(p.attributes))) AS keys
        FROM raw.captures
        SEMI JOIN current USING (partition_date, landing_id)
        WHERE conversation_id IS NOT NULL AND document_state = 'ok'
    )
    GROUP BY conversation_id
),

with_objects AS (
    SELECT conversation_id
    FROM raw.export_objects
    SEMI JOIN current USING (partition_date, landing_id)
    WHERE object_role = 'media' AND conversation_id IS NOT NULL
    UNION
    SELECT conversation_id
    FROM raw.export_manifests
    SEMI JOIN current USING (partition_date, landing_id)
    WHERE conversation_id IS NOT NULL
    UNION
    -- The call may have begun on an earlier day: only its document tells the night of the recording that failed.
    SELECT conversation_id
    FROM raw.export_failures
    SEMI JOIN current USING (partition_date, landing_id)
    WHERE conversation_id IS NOT NULL
    UNION
    SELECT conversation_id
    FROM raw.listed_recordings
    SEMI JOIN current USING (partition_date, landing_id)
    WHERE conversation_id IS NOT NULL
    UNION
    -- The job has a conversation, and its document cannot be read.
    SELECT conversation_id
    FROM raw.conversation_details
    SEMI JOIN current USING (partition_date, landing_id)
    WHERE conversation_id <> '' AND document_state <> 'ok'
    UNION
    SELECT conversation_id
    FROM captured
),

details AS (
    SELECT
        conversation_id,
        flatten(list_transform(participants, lambda p: map_keys(p.attributes))) AS keys,
        flatten(list_transform(participants, lambda p: map_values(p.attributes))) AS texts,
        flatten([[e."key" FOR e IN map_entries(p.attributes) IF NOT is_blank(e."value")] FOR p IN participants]) AS filled,
        flatten(list_transform(participants, lambda p: p.sessions)) AS sessions,
        coalesce(len(screen_recorded) > 0, false) AS has_screen
    FROM raw.conversation_details
    SEMI JOIN current USING (partition_date, landing_id)
    WHERE conversation_id IS NOT NULL AND document_state = 'ok'
    QUALIFY row_number() OVER (PARTITION BY conversation_id ORDER BY fetched_at DESC, document_uri DESC) = 1
),

details_facts AS (
    SELECT
        conversation_id,
        keys,
        filled,
        has_screen OR coalesce(list_bool_or(list_transform(sessions, lambda s: coalesce(s.recording, false))), false)
            AS is_recorded,
        coalesce(
            list_bool_or(list_transform(list_concat(keys, texts), lambda t: coalesce(at_job_limit(t), false))), false
        ) AS has_long,
        list_distinct(flatten(list_transform(sessions, lambda s: list_transform(s.segments, lambda g: g.queue_id))))
            AS queue_ids,
        list_distinct(list_transform(sessions, lambda s: s.script_id)) AS script_ids,
        list_distinct(
            flatten(list_transform(sessions, lambda s: [s.flow.flow_id, s.flow.flow_name]))
        ) AS flows
    FROM details
),

touched AS (
    SELECT
        f.*,
        list_concat(f.queue_ids, list_transform(f.queue_ids, lambda q: n.name_of[q])) AS queues,
        list_concat(f.script_ids, list_transform(f.script_ids, lambda s: m.name_of[s])) AS scripts
    FROM details_facts AS f, queue_names AS n, script_names AS m
),

without_required_tag AS (
    SELECT DISTINCT t.conversation_id
    FROM touched AS t, required AS r
    WHERE NOT list_has_any(coalesce(t.filled, []), r.tag.names)
        AND (
            len(r.tag.queues) + len(r.tag.flows) + len(r.tag.scripts) = 0
            OR list_has_any(t.queues, r.tag.queues)
            OR list_has_any(t.flows, r.tag.flows)
            OR list_has_any(t.scripts, r.tag.scripts)
        )
),

with_reasons AS (
    SELECT
        coalesce(t.conversation_id, o.conversation_id) AS conversation_id,
        list_filter(
            [
                CASE WHEN t.conversation_id IS NULL THEN 'not_in_details' END,
                CASE WHEN t.has_long THEN 'long_value' END,
                CASE WHEN (t.is_recorded OR o.conversation_id IS NOT NULL) AND coalesce(len(t.keys), 0) = 0
                    AND t.conversation_id IS NOT NULL THEN 'no_tags' END,
                CASE WHEN (t.is_recorded OR o.conversation_id IS NOT NULL) AND l.conversation_id IS NOT NULL
                    THEN 'required_tag_missing' END,
                CASE WHEN t.conversation_id IS NOT NULL AND NOT list_has_all(coalesce(t.keys, []), c.keys)
                    THEN 'captured_tag_missing' END,
                CASE WHEN $read_all AND (t.is_recorded OR o.conversation_id IS NOT NULL) THEN 'all' END
            ],
            lambda reason: reason IS NOT NULL
        ) AS reasons
    FROM touched AS t
    FULL JOIN with_objects AS o ON o.conversation_id = t.conversation_id
    LEFT JOIN without_required_tag AS l ON l.conversation_id = t.conversation_id
    LEFT JOIN captured AS c ON c.conversation_id = t.conversation_id
)

SELECT conversation_id, reasons
FROM with_reasons
WHERE len(reasons) > 0
ORDER BY conversation_id
