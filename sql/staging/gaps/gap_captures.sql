-- Conversations that live capture missed, and recordings and tags that only live capture saw: CAPTURE_MISSING,
-- CAPTURE_WITHOUT_RECORDING, TAG_VANISHED.
--
-- A capture is expected if an event named the conversation. A capture is also expected if a customer's call ended
-- between the night's first and last `customer.end` events, which show that capture was running. An event of a time before
-- the night, or after it was received, shows nothing.
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
-- column tag_keys: keys concerned, sorted; null where no single key is
WITH recordings AS (
    SELECT
        recording.partition_date,
        recording.conversation_id,
        recording.recording_id,
        recording.in_captures,
        conversation.conversation_end,
        conversation.metadata_read,
        conversation.metadata_evidence
    FROM staging.recordings AS recording
    INNER JOIN staging.conversation_facts AS conversation USING (partition_date, conversation_id)
),

captured_conversations AS (
    SELECT
        partition_date,
        conversation_id,
        count(*) AS captures,
        list(
            {'uri': document_uri, 'sha256': document_sha256, 'what': 'captures document', 'observed_at': first_seen_at}
            ORDER BY first_seen_at, document_sha256
        ) AS evidence
    FROM staging.documents
    WHERE resource = 'captures' AND document_state = 'ok'
    GROUP BY partition_date, conversation_id
),

events AS (
    -- One row per event. Several loads may have the same event.
    SELECT
        partition_date,
        conversation_id,
        event_id,
        topic,
        recording_id,
        outcome,
        coalesce(event_time, received_at) AS happened_at,
        max(received_at) AS received_by,
        {
            'uri': min(document_uri), 'sha256': min(document_sha256), 'what': 'event document',
            'observed_at': min(received_at)
        } AS evidence
    FROM staging.conversation_events
    WHERE document_state = 'ok'
    GROUP BY ALL
),

named_by_events AS (
    SELECT
        partition_date,
        conversation_id,
        count(*) AS events,
        list_sort(list_distinct(list(outcome))) AS outcomes,
        list(evidence ORDER BY happened_at, event_id) AS evidence
    FROM events
    GROUP BY partition_date, conversation_id
),

announced_recordings AS (
    SELECT
        partition_date,
        conversation_id,
        recording_id,
        min(happened_at) AS happened_at,
        list(evidence ORDER BY happened_at, event_id) AS evidence
    FROM events
    WHERE recording_id IS NOT NULL
    GROUP BY partition_date, conversation_id, recording_id
),

capture_ran AS (
    SELECT
        partition_date,
        min(happened_at) AS since,
        max(happened_at) AS until,
        [arg_min(evidence, (happened_at, event_id)), arg_max(evidence, (happened_at, event_id))] AS evidence
    FROM events
    WHERE topic = 'v2.detail.events.conversation.{id}.customer.end'
        -- A conversation of the night ends on that day or later, and no event comes before what it tells.
        AND happened_at >= partition_date AND happened_at <= received_by + INTERVAL 5 MINUTE
    GROUP BY partition_date
),

with_customer AS (
    SELECT DISTINCT partition_date, conversation_id
    FROM staging.sessions
    WHERE purpose IN ('customer', 'external')
),

lost_tags AS (
    SELECT
        partition_date,
        conversation_id,
        list_sort(list(DISTINCT
            '"' || left(tag_key, 80) || '": seen until ' || seen_at::VARCHAR || ' UTC (' || seen_by || '), gone by '
                || gone_at::VARCHAR || ' UTC (' || gone_by || ')'
        )) AS details,
        list_sort(list_distinct(flatten(list(evidence)))) AS evidence,
        list_sort(list(DISTINCT tag_key)) AS tag_keys
    FROM staging.vanished_tags
    GROUP BY partition_date, conversation_id
),

tag_vanished AS (
    SELECT
        recording.partition_date,
        recording.conversation_id,
        recording.recording_id,
        'TAG_VANISHED' AS reason,
        array_to_string(lost.details[:20], '; ')
            || CASE WHEN len(lost.details) > 20 THEN ' and ' || (len(lost.details) - 20)::VARCHAR || ' more' ELSE '' END
            AS detail,
        lost.evidence,
        lost.tag_keys
    FROM recordings AS recording
    INNER JOIN lost_tags AS lost USING (partition_date, conversation_id)
),

capture_missing AS (
    SELECT
        recording.partition_date,
        recording.conversation_id,
        recording.recording_id,
        'CAPTURE_MISSING' AS reason,
        CASE
            WHEN named.events IS NOT NULL
                THEN named.events::VARCHAR || ' events came; the reading: ' || array_to_string(named.outcomes, ', ')
            ELSE 'ended at ' || recording.conversation_end::VARCHAR || ' UTC; ends of calls were received from '
                || ran.since::VARCHAR || ' until ' || ran.until::VARCHAR || ' UTC, and no event of this one'
        END AS detail,
        coalesce(named.evidence, ran.evidence) AS evidence
    FROM recordings AS recording
    LEFT JOIN named_by_events AS named USING (partition_date, conversation_id)
    LEFT JOIN capture_ran AS ran
        ON ran.partition_date = recording.partition_date
        AND recording.conversation_end > ran.since
        AND recording.conversation_end < ran.until
    LEFT JOIN with_customer AS customer USING (partition_date, conversation_id)
    ANTI JOIN captured_conversations AS captured USING (partition_date, conversation_id)
    WHERE recording.conversation_id <> ''
        AND (named.events IS NOT NULL OR (ran.partition_date IS NOT NULL AND customer.conversation_id IS NOT NULL))
),

capture_without_recording AS (
    SELECT
        recording.partition_date,
        recording.conversation_id,
        recording.recording_id,
        'CAPTURE_WITHOUT_RECORDING' AS reason,
        CASE WHEN announced.recording_id IS NOT NULL THEN 'error' END AS severity,
        concat_ws(
            '; ',
            CASE
                WHEN announced.recording_id IS NOT NULL
                    THEN 'an event of ' || announced.happened_at::VARCHAR || ' UTC says that it was made'
                ELSE captured.captures::VARCHAR || ' captures of the conversation'
            END,
            CASE recording.metadata_read
                WHEN 'ok' THEN 'the recording interface does not list it'
                WHEN 'not_found' THEN 'the recording interface does not know the conversation'
                WHEN 'not_read' THEN 'the recording interface was not asked'
                ELSE 'the recording interface gave no usable answer'
            END
        ) AS detail,
        list_filter(
            list_append(coalesce(announced.evidence, captured.evidence), recording.metadata_evidence),
            lambda proof: proof IS NOT NULL
        ) AS evidence
    FROM recordings AS recording
    LEFT JOIN captured_conversations AS captured USING (partition_date, conversation_id)
    LEFT JOIN announced_recordings AS announced USING (partition_date, conversation_id, recording_id)
    WHERE recording.in_captures
),

findings AS (
    SELECT * FROM tag_vanished
    UNION ALL BY NAME
    SELECT * FROM capture_missing
    UNION ALL BY NAME
    SELECT * FROM capture_without_recording
)

SELECT
    partition_date,
    conversation_id,
    recording_id,
    reason,
    severity,
    detail,
    evidence[:20] AS evidence,
    tag_keys
FROM findings
