-- Known facts about each conversation that has a recording: the sources that answered or refused, and the context that
-- decides whether a tag applies. A refusal has the time of its first occurrence, so that a repeated refusal changes
-- nothing.
--
-- materialized: window
-- separable: true
-- grain: partition_date, conversation_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column details_configured: true if API credentials for the analytics job are set
-- column details_collected: true if the analytics job answered for this night
-- column watermark: time until which the job's answers are complete (UTC)
-- column receipt_evidence: receipt of the analytics job, as evidence
-- column in_details: true if the analytics job has the conversation
-- column details_tags: attributes in the job's document: present, empty ({}), absent (no attributes field) or null
-- column details_evidence: the job's document, as evidence
-- column single_read: outcome of reading the conversation: ok, not_found, forbidden, failed or not_read
-- column single_tags: attributes in that document: present, empty, absent or null
-- column single_evidence: that document, or the refusal, as evidence
-- column metadata_read: outcome of reading the recording metadata: ok, not_found, forbidden, failed or not_read
-- column metadata_recordings: recordings in the metadata
-- column metadata_evidence: the metadata document, or the refusal, as evidence
-- column conversation_sha256: SHA-256 of the single read's document, else of the analytics job's document
-- column conversation_start: start (UTC)
-- column conversation_end: end (UTC)
-- column conversation_seen_at: when the newest content of these documents was first received (UTC)
-- column direction: inbound or outbound
-- column ani [pii]: the caller's number
-- column dnis [pii]: the called number
-- column queue_ids: queues of the conversation
-- column queue_names: names of the queues, as the night first knew them
-- column user_ids: agents of the conversation
-- column script_ids: scripts that the agents saw
-- column script_names: names of the scripts, as published
-- column flow_ids: flows of the conversation
-- column flow_names: names of the flows
-- column names_another: true if a document that was requested for this conversation names another one
WITH conversations AS (
    SELECT DISTINCT partition_date, conversation_id
    FROM staging.recording_keys
),

loads AS (
    SELECT partition_date,
        bool_or(is_current) AS collected,
        bool_or(is_newest AND receipt_state = 'not_configured') AS not_configured,
        max(data_available_until) FILTER (is_current) AS watermark,
        {
            'uri': 'receipt:' || min(landing_id),
            'sha256': NULL::VARCHAR,
            'what': 'receipt of conversation_details: ' || any_value(receipt_state) FILTER (is_newest),
            'observed_at': min(finished_at)
        } AS evidence
    FROM staging.receipts
    WHERE resource = 'conversation_details'
    GROUP BY partition_date
),

current_documents AS (
    SELECT partition_date, conversation_id, resource, document_state, document_sha256, first_seen_at,
        {'uri': document_uri, 'sha256': document_sha256, 'what': resource || ' document', 'observed_at': first_seen_at}
            AS evidence
    FROM staging.documents
    WHERE is_current AND resource IN ('conversation_details', 'conversations', 'recording_metadata')
    QUALIFY row_number() OVER (
        PARTITION BY partition_date, conversation_id, resource
        ORDER BY document_state = 'ok' DESC, "sequence" DESC, first_seen_at DESC, content_sha256
    ) = 1
),

details AS (
    -- Reduce the document before the choice, because its participants are large.
    SELECT * FROM (
        SELECT partition_date, conversation_id, conversation_start, conversation_end, originating_direction, document_sha256,
            CASE
                WHEN list_bool_or([cardinality(p.attributes) > 0 FOR p IN participants]) THEN 'present'
                WHEN list_bool_or([p.attributes IS NOT NULL FOR p IN participants]) THEN 'empty'
                ELSE 'absent'
            END AS tags
        FROM staging.conversation_details
        WHERE is_current AND document_state = 'ok'
    )
    QUALIFY row_number() OVER (PARTITION BY partition_date, conversation_id ORDER BY document_sha256) = 1
),

singles AS (
    SELECT partition_date, key_conversation_id AS conversation_id, start_time, end_time,
        CASE
            WHEN list_bool_or([cardinality(p.attributes) > 0 FOR p IN participants]) THEN 'present'
            WHEN list_bool_or([p.attributes IS NOT NULL FOR p IN participants]) THEN 'empty'
            ELSE 'absent'
        END AS tags,
        list_sort(list_distinct([p.queue_id FOR p IN participants IF p.queue_id IS NOT NULL])) AS queue_ids,
        list_sort(list_distinct([p.queue_name FOR p IN participants IF p.queue_name IS NOT NULL])) AS queue_names,
        list_sort(list_distinct([p.user_id FOR p IN participants IF p.user_id IS NOT NULL])) AS user_ids,
        list_sort(list_distinct([p.script_id FOR p IN participants IF p.script_id IS NOT NULL])) AS script_ids,
        list_filter([p.ani FOR p IN participants], lambda x: x IS NOT NULL)[1] AS ani,
        list_filter([p.dnis FOR p IN participants], lambda x: x IS NOT NULL)[1] AS dnis
    FROM staging.conversations
    WHERE is_current AND document_state = 'ok'
    QUALIFY row_number() OVER (PARTITION BY partition_date, key_conversation_id ORDER BY fetched_at DESC, document_sha256) = 1
),

metadata AS (
    -- An entry that cannot be read may be the very recording that the list seems to lack.
    SELECT partition_date, key_conversation_id AS conversation_id, count(recording_id) AS recordings,
        bool_and(document_state = 'ok') AS is_whole,
        bool_or(coalesce(lower(conversation_id) <> lower(key_conversation_id), false)) AS names_another
    FROM staging.recording_metadata
    WHERE is_current
    GROUP BY partition_date, key_conversation_id
),

typed AS (
    SELECT partition_date, key_conversation_id AS conversation_id,
        bool_or(coalesce(lower(conversation_id) <> lower(key_conversation_id), false)) AS names_another
    FROM staging.conversation_attributes
    WHERE is_current
    GROUP BY partition_date, key_conversation_id
),

refusals AS (
    SELECT partition_date, resource, subject_id AS conversation_id, http_status,
        bool_or(is_current) AS is_current,
        {
            'uri': arg_min(document_uri, (occurred_at, document_uri)),
            'sha256': arg_min(document_sha256, (occurred_at, document_uri)),
            'what': resource || ': ' || CASE WHEN http_status IS NULL THEN 'no answer' ELSE 'HTTP ' || http_status::VARCHAR END
                || coalesce(', correlation id ' || arg_min(correlation_id, (occurred_at, document_uri)), ''),
            'observed_at': min(occurred_at)
        } AS evidence
    FROM staging.fetch_failures
    WHERE resource IN ('conversations', 'recording_metadata')
    GROUP BY partition_date, resource, subject_id, http_status
),

current_refusals AS (
    SELECT partition_date, resource, conversation_id, evidence,
        CASE
            WHEN http_status IN (404, 410) THEN 'not_found'
            WHEN http_status IN (401, 403) THEN 'forbidden'
            ELSE 'failed'
        END AS outcome
    FROM refusals
    WHERE is_current
    QUALIFY row_number() OVER (PARTITION BY partition_date, resource, conversation_id ORDER BY http_status) = 1
),

queues AS (
    -- Its own night's name, so that a queue that is renamed changes no night; else the first that any night has.
    SELECT n.partition_date, q.queue_id,
        arg_min(q.queue_name, (q.night <> n.partition_date, q."sequence", q.night)) AS queue_name
    FROM staging.queues AS q
    CROSS JOIN (SELECT DISTINCT partition_date FROM conversations) AS n
    GROUP BY n.partition_date, q.queue_id
),

legs AS (
    SELECT s.partition_date, s.conversation_id,
        nullif(list_sort(list_distinct(flatten(list(s.queue_ids)))), []) AS queue_ids,
        list_sort(list_distinct(list(s.user_id) FILTER (s.user_id IS NOT NULL AND NOT s.only_rang))) AS user_ids,
        list_sort(list_distinct(list(s.script_id) FILTER (s.script_id IS NOT NULL))) AS script_ids,
        list_sort(list_distinct(list(s.flow_id) FILTER (s.flow_id IS NOT NULL))) AS flow_ids,
        list_sort(list_distinct(list(s.flow_name) FILTER (s.flow_name IS NOT NULL))) AS flow_names,
        arg_min(s.ani, (s.purpose NOT IN ('customer', 'external'), s.session_start, s.session_id)) AS ani,
        arg_min(s.dnis, (s.purpose NOT IN ('customer', 'external'), s.session_start, s.session_id)) AS dnis
    FROM staging.sessions AS s
    GROUP BY s.partition_date, s.conversation_id
)

SELECT
    c.partition_date,
    c.conversation_id,
    NOT coalesce(l.not_configured, false) AS details_configured,
    coalesce(l.collected, false) AND NOT coalesce(l.not_configured, false) AS details_collected,
    l.watermark,
    l.evidence AS receipt_evidence,
    d.conversation_id IS NOT NULL AS in_details,
    d.tags AS details_tags,
    dd.evidence AS details_evidence,
    CASE
        WHEN s.conversation_id IS NOT NULL THEN 'ok'
        WHEN sd.conversation_id IS NOT NULL THEN 'failed'
        ELSE coalesce(sr.outcome, 'not_read')
    END AS single_read,
    s.tags AS single_tags,
    coalesce(sd.evidence, sr.evidence) AS single_evidence,
    CASE
        WHEN m.is_whole THEN 'ok'
        WHEN md.conversation_id IS NOT NULL THEN 'failed'
        ELSE coalesce(mr.outcome, 'not_read')
    END AS metadata_read,
    m.recordings AS metadata_recordings,
    coalesce(md.evidence, mr.evidence) AS metadata_evidence,
    coalesce(sd.document_sha256, dd.document_sha256) AS conversation_sha256,
    coalesce(d.conversation_start, s.start_time) AS conversation_start,
    coalesce(d.conversation_end, s.end_time) AS conversation_end,
    greatest(dd.first_seen_at, sd.first_seen_at) AS conversation_seen_at,
    lower(d.originating_direction) AS direction,
    coalesce(g.ani, s.ani) AS ani,
    coalesce(g.dnis, s.dnis) AS dnis,
    coalesce(g.queue_ids, s.queue_ids, []) AS queue_ids,
    list_sort(list_distinct(
        coalesce(s.queue_names, [])
        || coalesce((
            SELECT list(q.queue_name) FROM queues AS q
            WHERE q.partition_date = c.partition_date AND list_contains(coalesce(g.queue_ids, s.queue_ids), q.queue_id)
        ), [])
    )) AS queue_names,
    coalesce(g.user_ids, s.user_ids, []) AS user_ids,
    coalesce(g.script_ids, s.script_ids, []) AS script_ids,
    coalesce(
        (
            SELECT list(DISTINCT p.script_name ORDER BY p.script_name) FROM staging.published_scripts AS p
            WHERE list_contains(coalesce(g.script_ids, s.script_ids), p.script_id)
        ),
        []
    ) AS script_names,
    coalesce(g.flow_ids, []) AS flow_ids,
    coalesce(g.flow_names, []) AS flow_names,
    coalesce(sd.document_state = 'other_conversation' OR m.names_another OR t.names_another, false) AS names_another
FROM conversations AS c
LEFT JOIN loads AS l USING (partition_date)
LEFT JOIN details AS d USING (partition_date, conversation_id)
LEFT JOIN singles AS s USING (partition_date, conversation_id)
LEFT JOIN metadata AS m USING (partition_date, conversation_id)
LEFT JOIN typed AS t USING (partition_date, conversation_id)
LEFT JOIN legs AS g USING (partition_date, conversation_id)
LEFT JOIN current_documents AS dd
    ON dd.partition_date = c.partition_date AND dd.conversation_id = c.conversation_id AND dd.resource = 'conversation_details'
LEFT JOIN current_documents AS sd
    ON sd.partition_date = c.partition_date AND sd.conversation_id = c.conversation_id AND sd.resource = 'conversations'
LEFT JOIN current_documents AS md
    ON md.partition_date = c.partition_date AND md.conversation_id = c.conversation_id AND md.resource = 'recording_metadata'
LEFT JOIN current_refusals AS sr
    ON sr.partition_date = c.partition_date AND sr.conversation_id = c.conversation_id AND sr.resource = 'conversations'
LEFT JOIN current_refusals AS mr
    ON mr.partition_date = c.partition_date AND mr.conversation_id = c.conversation_id AND mr.resource = 'recording_metadata'
