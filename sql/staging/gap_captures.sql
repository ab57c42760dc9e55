-- What live capture saw and others did not, or missed: CAPTURE_MISSING, CAPTURE_WITHOUT_RECORDING, TAG_VANISHED.
--
-- A capture was due where an event named the conversation, and for a customer's call that ended between the first and the
-- last customer's end of the night that was received: capture was running then. A tag vanished when it was seen at one
-- time and a document of a later time does not have it. The bulk job keeps what was there at the end of the conversation,
-- so it is of a later time only for tags seen before.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, reason
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column reason: code of the reason
-- column severity: where it differs from the catalogue's
-- column detail: the particulars, without tag values
-- column evidence: documents and objects that prove it
-- column recoverable_until: until when something can be done (UTC), where that is known
WITH recordings AS (
    SELECT r.partition_date, r.conversation_id, r.recording_id, r.in_captures, c.conversation_end, c.metadata_read,
        c.metadata_evidence
    FROM staging.recordings AS r
    INNER JOIN staging.conversation_facts AS c
        ON c.partition_date = r.partition_date AND c.conversation_id = r.conversation_id
    WHERE r.partition_date >= $window_start AND r.partition_date < $window_end
),

captures AS (
    SELECT partition_date, conversation_id, count(*) AS captures,
        list({'uri': document_uri, 'sha256': document_sha256, 'what': 'captures document', 'observed_at': first_seen_at}
            ORDER BY first_seen_at, document_sha256) AS evidence
    FROM staging.documents
    WHERE resource = 'captures' AND partition_date >= $window_start AND partition_date < $window_end
    GROUP BY partition_date, conversation_id
),

events AS (
    -- Once, whichever load has it.
    SELECT partition_date, conversation_id, event_id, topic, recording_id, outcome,
        coalesce(event_time, received_at) AS happened_at,
        {
            'uri': min(document_uri), 'sha256': min(document_sha256), 'what': 'event document',
            'observed_at': min(received_at)
        } AS evidence
    FROM staging.conversation_events
    WHERE document_state = 'ok' AND partition_date >= $window_start AND partition_date < $window_end
    GROUP BY partition_date, conversation_id, event_id, topic, recording_id, outcome, coalesce(event_time, received_at)
),

received AS (
    SELECT partition_date, conversation_id, count(*) AS events, list_sort(list_distinct(list(outcome))) AS outcomes,
        list(evidence ORDER BY happened_at, event_id) AS evidence
    FROM events
    GROUP BY partition_date, conversation_id
),

running AS (
    SELECT partition_date, min(happened_at) AS since, max(happened_at) AS until,
        [arg_min(evidence, (happened_at, event_id)), arg_max(evidence, (happened_at, event_id))] AS evidence
    FROM events
    WHERE topic = 'v2.detail.events.conversation.{id}.customer.end'
    GROUP BY partition_date
),

customers AS (
    SELECT DISTINCT partition_date, conversation_id
    FROM staging.sessions
    WHERE purpose IN ('customer', 'external') AND partition_date >= $window_start AND partition_date < $window_end
),

gone_keys AS (
    -- Few of all tags: only theirs are worth their evidence.
    SELECT partition_date, conversation_id, participant_id, tag_key
    FROM staging.tag_observations
    WHERE recording_id = '' AND participant_id <> '' AND source <> 'customattributes'
        AND partition_date >= $window_start AND partition_date < $window_end
    GROUP BY partition_date, conversation_id, participant_id, tag_key
    HAVING NOT bool_or(source IN ('conversation', 'details') AND is_current)
),

gone AS (
    SELECT partition_date, conversation_id, participant_id, tag_key,
        list_sort(list(DISTINCT {
            'uri': document_uri, 'sha256': document_sha256, 'what': source || ' document', 'observed_at': observed_at
        })) AS evidence
    FROM staging.tag_observations
    SEMI JOIN gone_keys USING (partition_date, conversation_id, participant_id, tag_key)
    WHERE recording_id = '' AND participant_id <> '' AND source <> 'customattributes'
        AND partition_date >= $window_start AND partition_date < $window_end
    GROUP BY partition_date, conversation_id, participant_id, tag_key
),

readings AS (
    -- Every document that tells all participants of a conversation from which a tag is gone.
    SELECT partition_date, conversation_id, 'capture' AS source, observed_at AS read_at, document_uri, document_sha256,
        [{'id': p.participant_id, 'keys': map_keys(p.attributes)} FOR p IN participants] AS legs
    FROM staging.captures
    WHERE document_state = 'ok' AND partition_date >= $window_start AND partition_date < $window_end
    UNION ALL
    SELECT partition_date, key_conversation_id, 'conversation', fetched_at, document_uri, document_sha256,
        [{'id': p.participant_id, 'keys': map_keys(p.attributes)} FOR p IN participants]
    FROM staging.conversations
    WHERE document_state = 'ok' AND partition_date >= $window_start AND partition_date < $window_end
    UNION ALL
    SELECT partition_date, conversation_id, 'details', fetched_at, document_uri, document_sha256,
        [{'id': p.participant_id, 'keys': map_keys(p.attributes)} FOR p IN participants]
    FROM staging.conversation_details
    WHERE document_state = 'ok' AND partition_date >= $window_start AND partition_date < $window_end
),

moments AS (
    SELECT g.partition_date, g.conversation_id, g.participant_id, g.tag_key, r.source, r.read_at,
        {'uri': r.document_uri, 'sha256': r.document_sha256, 'what': r.source || ' document', 'observed_at': r.read_at}
            AS evidence,
        coalesce(list_bool_or([l.id = g.participant_id AND list_contains(l.keys, g.tag_key) FOR l IN r.legs]), false)
            AS has_tag
    FROM gone AS g
    INNER JOIN readings AS r ON r.partition_date = g.partition_date AND r.conversation_id = g.conversation_id
    UNION ALL
    -- An event says what was set, not all that is there.
    SELECT partition_date, conversation_id, participant_id, tag_key, source, observed_at, NULL, true
    FROM staging.tag_observations
    SEMI JOIN gone USING (partition_date, conversation_id, participant_id, tag_key)
    WHERE source = 'event'
),

seen AS (
    SELECT partition_date, conversation_id, participant_id, tag_key,
        max(read_at) FILTER (has_tag) AS seen_at, arg_max(source, (read_at, source)) FILTER (has_tag) AS seen_by
    FROM moments
    GROUP BY partition_date, conversation_id, participant_id, tag_key
),

vanished AS (
    SELECT s.partition_date, s.conversation_id, s.participant_id, s.tag_key, s.seen_at, s.seen_by,
        min(m.read_at) AS gone_at, arg_min(m.source, (m.read_at, m.source)) AS gone_by,
        -- Of the first load that has it.
        arg_min(m.evidence, (m.read_at, m.source, m.evidence.uri)) AS evidence
    FROM seen AS s
    INNER JOIN (SELECT DISTINCT partition_date, conversation_id, conversation_end FROM recordings) AS c
        ON c.partition_date = s.partition_date AND c.conversation_id = s.conversation_id
    INNER JOIN moments AS m
        ON m.partition_date = s.partition_date AND m.conversation_id = s.conversation_id
        AND m.participant_id = s.participant_id AND m.tag_key = s.tag_key
    WHERE NOT m.has_tag AND m.read_at > s.seen_at AND (m.source <> 'details' OR s.seen_at <= c.conversation_end)
    GROUP BY ALL
),

lost AS (
    SELECT v.partition_date, v.conversation_id,
        list(DISTINCT '"' || left(v.tag_key, 80) || '": seen until ' || v.seen_at::VARCHAR || ' UTC (' || v.seen_by
            || '), gone by '
            || v.gone_at::VARCHAR || ' UTC (' || v.gone_by || ')') AS details,
        list_sort(list_distinct(flatten(list(list_append(g.evidence, v.evidence))))) AS evidence
    FROM vanished AS v
    INNER JOIN gone AS g USING (partition_date, conversation_id, participant_id, tag_key)
    GROUP BY v.partition_date, v.conversation_id
),

judged AS (
    SELECT r.partition_date, r.conversation_id, r.recording_id, 'TAG_VANISHED' AS reason, NULL::VARCHAR AS severity,
        array_to_string(list_sort(l.details)[:20], '; ')
            || CASE WHEN len(l.details) > 20 THEN ' and ' || (len(l.details) - 20)::VARCHAR || ' more' ELSE '' END AS detail,
        l.evidence
    FROM recordings AS r
    INNER JOIN lost AS l ON l.partition_date = r.partition_date AND l.conversation_id = r.conversation_id
    UNION ALL
    SELECT r.partition_date, r.conversation_id, r.recording_id, 'CAPTURE_MISSING', NULL,
        CASE
            WHEN e.events IS NOT NULL THEN e.events::VARCHAR || ' events came; the reading: ' || array_to_string(e.outcomes, ', ')
            ELSE 'ended at ' || r.conversation_end::VARCHAR || ' UTC; ends of calls were received from ' || n.since::VARCHAR
                || ' until ' || n.until::VARCHAR || ' UTC, and no event of this one'
        END,
        coalesce(e.evidence, n.evidence)
    FROM recordings AS r
    LEFT JOIN received AS e ON e.partition_date = r.partition_date AND e.conversation_id = r.conversation_id
    LEFT JOIN running AS n
        ON n.partition_date = r.partition_date AND r.conversation_end > n.since AND r.conversation_end < n.until
    LEFT JOIN customers AS u ON u.partition_date = r.partition_date AND u.conversation_id = r.conversation_id
    ANTI JOIN captures AS c ON c.partition_date = r.partition_date AND c.conversation_id = r.conversation_id
    WHERE r.conversation_id <> '' AND (e.events IS NOT NULL OR (n.partition_date IS NOT NULL AND u.conversation_id IS NOT NULL))
    UNION ALL
    SELECT r.partition_date, r.conversation_id, r.recording_id, 'CAPTURE_WITHOUT_RECORDING',
        CASE WHEN a.recording_id IS NOT NULL THEN 'error' END,
        concat_ws(
            '; ',
            CASE
                WHEN a.recording_id IS NOT NULL THEN 'an event of ' || a.happened_at::VARCHAR || ' UTC says that it was made'
                ELSE c.captures::VARCHAR || ' captures of the conversation'
            END,
            CASE r.metadata_read
                WHEN 'ok' THEN 'the recording interface does not list it'
                WHEN 'not_found' THEN 'the recording interface does not know the conversation'
                WHEN 'not_read' THEN 'the recording interface was not asked'
                ELSE 'the recording interface gave no usable answer'
            END
        ),
        list_filter(list_append(coalesce(a.evidence, c.evidence), r.metadata_evidence), lambda x: x IS NOT NULL)
    FROM recordings AS r
    LEFT JOIN captures AS c ON c.partition_date = r.partition_date AND c.conversation_id = r.conversation_id
    LEFT JOIN (
        SELECT partition_date, conversation_id, recording_id, min(happened_at) AS happened_at,
            list(evidence ORDER BY happened_at, event_id) AS evidence
        FROM events
        WHERE recording_id IS NOT NULL
        GROUP BY partition_date, conversation_id, recording_id
    ) AS a
        ON a.partition_date = r.partition_date AND a.conversation_id = r.conversation_id AND a.recording_id = r.recording_id
    WHERE r.in_captures
)

SELECT
    partition_date,
    conversation_id,
    recording_id,
    reason,
    severity,
    detail,
    evidence[:20] AS evidence,
    NULL::TIMESTAMP AS recoverable_until
FROM judged
