-- Result of each column of the mapping for each recording: the value, or the place where the tag was found instead.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, column_name
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column column_name: column of chain_of_custody
-- column required: true if the mapping requires the column
-- column applies: true if the column's conditions (flow, queue, script) hold for the call
-- column status: found; blank (the value is empty or has blanks only); no_value (the key is present, its path or value is not); elsewhere (on a participant that the mapping does not list); prefixed (under a key that begins with a prefix of the platform, `context.` or `conversationDetails.participantData.`); variant (under a key that differs in case or punctuation); or missing
-- column tag_key: key that decided the status
-- column tag_value [pii]: value of the column; null unless found or blank
-- column source: source of the value
-- column purpose: purpose of the participant that has the tag
-- column attribute: key that the mapping names
-- column conflicting_keys: keys of this column that give different values; empty if they agree
WITH mapping AS (
    SELECT * FROM staging.tag_mapping
    WHERE column_name IS NOT NULL
),

keys AS (
    -- Keys of the night, without case and punctuation, and what stands behind the platform's prefix.
    SELECT partition_date, tag_key, plain(tag_key) AS plain_key, plain(behind_prefix(tag_key)) AS behind_prefix
    FROM (SELECT DISTINCT partition_date, tag_key FROM staging.resolved_tags)
),

spellings AS (
    -- Spellings of the mapping's keys in the night, once per key.
    SELECT m.partition_date, m.column_name, k.tag_key, nullif(list_position(m.names, k.tag_key), 0) AS name_rank,
        NOT list_contains(m.plain_names, k.plain_key) AS is_prefixed
    FROM (SELECT partition_date, column_name, names, [plain(name) FOR name IN names] AS plain_names FROM mapping) AS m
    INNER JOIN keys AS k
        ON k.partition_date = m.partition_date AND k.plain_key <> ''
        AND (list_contains(m.plain_names, k.plain_key) OR list_contains(m.plain_names, k.behind_prefix))
    UNION
    SELECT partition_date, column_name, unnest(names), unnest(range(1, len(names) + 1)), false
    FROM mapping
),

candidates AS (
    SELECT t.partition_date, t.conversation_id, t.recording_id, s.column_name, t.tag_key, t.source, t.purpose,
        CASE
            WHEN m.json_path IS NULL THEN t.tag_value
            WHEN json_valid(t.tag_value) THEN value_at(t.tag_value, m.json_path)
        END AS tag_value,
        CASE
            WHEN s.name_rank IS NULL AND s.is_prefixed THEN 3
            WHEN s.name_rank IS NULL THEN 4
            WHEN t.purpose <> '' AND NOT list_contains(m.purposes, t.purpose) THEN 2
            ELSE 1
        END AS place,
        s.name_rank, t.is_cut
    FROM staging.resolved_tags AS t
    INNER JOIN spellings AS s USING (partition_date, tag_key)
    INNER JOIN mapping AS m ON m.partition_date = s.partition_date AND m.column_name = s.column_name
),

contested_columns AS (
    SELECT partition_date, conversation_id, recording_id, column_name
    FROM candidates
    GROUP BY partition_date, conversation_id, recording_id, column_name
    HAVING count(*) > 1
),

best AS (
    -- Few recordings have several candidates for a column. Only those are ordered.
    SELECT * FROM candidates ANTI JOIN contested_columns USING (partition_date, conversation_id, recording_id, column_name)
    UNION ALL
    SELECT *
    FROM candidates
    SEMI JOIN contested_columns USING (partition_date, conversation_id, recording_id, column_name)
    QUALIFY row_number() OVER (
        PARTITION BY partition_date, conversation_id, recording_id, column_name
        ORDER BY place, tag_value IS NULL, name_rank, tag_key
    ) = 1
),

conflicts AS (
    -- Keys with a prefix count, too. A key that differs in case or punctuation may be another tag.
    SELECT partition_date, conversation_id, recording_id, column_name,
        list(DISTINCT tag_key ORDER BY tag_key) AS conflicting_keys, count(DISTINCT tag_value) AS tag_values
    FROM candidates
    SEMI JOIN contested_columns USING (partition_date, conversation_id, recording_id, column_name)
    WHERE place <= 3 AND NOT is_cut AND NOT is_blank(tag_value)
    GROUP BY partition_date, conversation_id, recording_id, column_name
),

columns_of_recordings AS (
    SELECT r.partition_date, r.conversation_id, r.recording_id, m.column_name, m.required, m.names[1] AS attribute,
        (len(m.flows) = 0 OR list_has_any(m.flows, c.flow_ids || c.flow_names))
            AND (len(m.queues) = 0 OR list_has_any(m.queues, c.queue_ids || c.queue_names))
            AND (len(m.scripts) = 0 OR list_has_any(m.scripts, c.script_ids || c.script_names)) AS applies
    FROM staging.recordings AS r
    INNER JOIN staging.conversation_facts AS c USING (partition_date, conversation_id)
    INNER JOIN mapping AS m USING (partition_date)
)

SELECT
    w.partition_date,
    w.conversation_id,
    w.recording_id,
    w.column_name,
    w.required,
    w.applies,
    CASE
        WHEN b.place IS NULL THEN 'missing'
        WHEN b.place = 1 AND is_blank(b.tag_value) THEN 'blank'
        WHEN b.place = 1 AND b.tag_value IS NOT NULL THEN 'found'
        WHEN b.place = 1 THEN 'no_value'
        WHEN b.place = 2 THEN 'elsewhere'
        WHEN b.place = 3 THEN 'prefixed'
        ELSE 'variant'
    END AS status,
    b.tag_key,
    CASE WHEN b.place = 1 THEN b.tag_value END AS tag_value,
    b.source,
    b.purpose,
    w.attribute,
    -- With a blank value, one other value disagrees.
    CASE
        WHEN c.tag_values > 1 OR (c.tag_values = 1 AND b.place = 1 AND is_blank(b.tag_value))
            THEN c.conflicting_keys
        ELSE []
    END AS conflicting_keys
FROM columns_of_recordings AS w
LEFT JOIN best AS b USING (partition_date, conversation_id, recording_id, column_name)
LEFT JOIN conflicts AS c USING (partition_date, conversation_id, recording_id, column_name)
