-- Tags that a participant had at one time and no longer has in a document of a later time.
--
-- The bulk job keeps what was there at the end of the conversation, so its document is of a later time only for tags that
-- were seen before that end. Attribute events say what was set, and never what is gone.
--
-- materialized: window
-- grain: partition_date, conversation_id, participant_id, tag_key
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column participant_id: participant who had the tag
-- column tag_key: key, as set
-- column seen_at: when it was last seen (UTC)
-- column seen_by: source that showed it then
-- column gone_at: when the first later document without it was read (UTC)
-- column gone_by: source of that document
-- column evidence: documents that showed the tag, and the one that no longer does
WITH observations AS (
    SELECT
        partition_date,
        conversation_id,
        participant_id,
        tag_key,
        source,
        observed_at,
        is_current,
        document_uri,
        document_sha256
    FROM staging.tag_observations
    WHERE recording_id = '' AND participant_id <> '' AND source <> 'customattributes'
),

missing AS (
    -- Few of all tags: only theirs are worth their evidence.
    SELECT partition_date, conversation_id, participant_id, tag_key
    FROM observations
    GROUP BY partition_date, conversation_id, participant_id, tag_key
    HAVING NOT bool_or(source IN ('conversation', 'details') AND is_current)
),

shown AS (
    SELECT
        partition_date,
        conversation_id,
        participant_id,
        tag_key,
        list_sort(list(DISTINCT {
            'uri': document_uri, 'sha256': document_sha256, 'what': source || ' document', 'observed_at': observed_at
        })) AS evidence
    FROM observations
    SEMI JOIN missing USING (partition_date, conversation_id, participant_id, tag_key)
    GROUP BY partition_date, conversation_id, participant_id, tag_key
),

documents AS (
    -- Every document that names all participants of a conversation.
    SELECT
        partition_date,
        conversation_id,
        'capture' AS source,
        observed_at AS read_at,
        document_uri,
        document_sha256,
        [{'id': p.participant_id, 'keys': map_keys(p.attributes)} FOR p IN participants] AS participants
    FROM staging.captures
    WHERE document_state = 'ok'
    UNION ALL
    SELECT
        partition_date,
        key_conversation_id,
        'conversation',
        fetched_at,
        document_uri,
        document_sha256,
        [{'id': p.participant_id, 'keys': map_keys(p.attributes)} FOR p IN participants]
    FROM staging.conversations
    WHERE document_state = 'ok'
    UNION ALL
    SELECT
        partition_date,
        conversation_id,
        'details',
        fetched_at,
        document_uri,
        document_sha256,
        [{'id': p.participant_id, 'keys': map_keys(p.attributes)} FOR p IN participants]
    FROM staging.conversation_details
    WHERE document_state = 'ok'
),

moments AS (
    -- Each tag beside each document of its conversation: whether the document has the tag.
    SELECT
        tag.partition_date,
        tag.conversation_id,
        tag.participant_id,
        tag.tag_key,
        document.source,
        document.read_at,
        {
            'uri': document.document_uri, 'sha256': document.document_sha256, 'what': document.source || ' document',
            'observed_at': document.read_at
        } AS evidence,
        coalesce(
            list_bool_or([p.id = tag.participant_id AND list_contains(p.keys, tag.tag_key) FOR p IN document.participants]),
            false
        ) AS has_tag
    FROM missing AS tag
    INNER JOIN documents AS document USING (partition_date, conversation_id)
    UNION ALL
    SELECT partition_date, conversation_id, participant_id, tag_key, source, observed_at, NULL, true
    FROM observations
    SEMI JOIN missing USING (partition_date, conversation_id, participant_id, tag_key)
    WHERE source = 'event'
),

seen AS (
    SELECT
        partition_date,
        conversation_id,
        participant_id,
        tag_key,
        max(read_at) FILTER (has_tag) AS seen_at,
        arg_max(source, (read_at, source)) FILTER (has_tag) AS seen_by
    FROM moments
    GROUP BY partition_date, conversation_id, participant_id, tag_key
),

gone AS (
    SELECT
        seen.partition_date,
        seen.conversation_id,
        seen.participant_id,
        seen.tag_key,
        seen.seen_at,
        seen.seen_by,
        min(moment.read_at) AS gone_at,
        arg_min(moment.source, (moment.read_at, moment.source)) AS gone_by,
        -- Several loads may have the same document: the first one counts.
        arg_min(moment.evidence, (moment.read_at, moment.source, moment.evidence.uri)) AS evidence
    FROM seen
    INNER JOIN staging.conversation_facts AS conversation USING (partition_date, conversation_id)
    INNER JOIN moments AS moment USING (partition_date, conversation_id, participant_id, tag_key)
    WHERE NOT moment.has_tag
        AND moment.read_at > seen.seen_at
        AND (moment.source <> 'details' OR seen.seen_at <= conversation.conversation_end)
    GROUP BY ALL
)

SELECT
    gone.partition_date,
    gone.conversation_id,
    gone.participant_id,
    gone.tag_key,
    gone.seen_at,
    gone.seen_by,
    gone.gone_at,
    gone.gone_by,
    list_append(shown.evidence, gone.evidence) AS evidence
FROM gone
INNER JOIN shown USING (partition_date, conversation_id, participant_id, tag_key)
