-- Tags that a participant had at one time and that a later document no longer shows.
--
-- The analytics job shows the end of the conversation. Its document is therefore later only than tags that were seen
-- before that end, or in an earlier document of the job. An attribute event shows that a tag was set, and never that a
-- tag was removed.
--
-- materialized: window
-- grain: partition_date, conversation_id, participant_id, tag_key
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column participant_id: participant that had the tag
-- column tag_key: key, as set
-- column seen_at: when a document last showed the tag (UTC)
-- column seen_by: source of that document
-- column gone_at: when the first later document without the tag was read (UTC)
-- column gone_by: source of that later document
-- column evidence: documents that showed the tag, and the first later document without it
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
    -- Only tags that no current document shows. Few tags are left, so evidence is collected for them alone.
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
    -- Every document that lists all participants of a conversation.
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
    -- Each tag joined to each document of its conversation, with the fact whether the document has the tag.
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
        -- Several loads may have the same document. The first one is the evidence.
        arg_min(moment.evidence, (moment.read_at, moment.source, moment.evidence.uri)) AS evidence
    FROM seen
    INNER JOIN staging.conversation_facts AS conversation USING (partition_date, conversation_id)
    INNER JOIN moments AS moment USING (partition_date, conversation_id, participant_id, tag_key)
    WHERE NOT moment.has_tag
        AND moment.read_at > seen.seen_at
        AND (moment.source <> 'details' OR seen.seen_by = 'details' OR seen.seen_at <= conversation.conversation_end)
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
