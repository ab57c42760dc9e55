-- Everything that is missing or odd, one row per recording and reason, with a sentence, the evidence and the next
-- action.
--
-- grain: partition_date, conversation_id, recording_id, reason
-- column partition_date DATE: UTC day of the conversation's start
-- column conversation_id VARCHAR: conversation
-- column recording_id VARCHAR: recording; `session:<id>`, `screen:<participant id>` or `capture:<id>` if only a session, a participant or live capture shows that a recording should exist; `object:<key>` for an object whose key names no recording; `organization:<id>` for the folder of another organisation; `source:<name>` if a source failed as a whole
-- column reason VARCHAR: code of the reason
-- column severity VARCHAR: error or warning (the recording is a gap), or info
-- column sentence VARCHAR: what happened, in one sentence
-- column detail VARCHAR: particulars, without tag values
-- column evidence VARCHAR: JSON list of {uri, sha256, what, observed_at}: documents and objects that prove the reason
-- column proofs STRUCT(uri VARCHAR, sha256 VARCHAR, what VARCHAR, observed_at TIMESTAMP)[]: the same as a list; JSON in the CSV
-- column recoverable VARCHAR: yes, no, or until (see recoverable_until)
-- column recoverable_until TIMESTAMP: time until which the gap can be closed (UTC); null if unknown
-- column next_action VARCHAR: what a person or the pipeline does next
-- column recheck_until TIMESTAMP: time until which a new collection may close the gap (UTC); null if it cannot
-- column tag_keys VARCHAR[]: keys of the tags concerned, sorted; null if the reason is about no single tag
-- column queue_names VARCHAR[]: queues of the conversation, as in chain_of_custody
-- column user_ids VARCHAR[] [pii]: agents in the recording
-- column agent_names VARCHAR[] [pii]: their names, as in chain_of_custody
-- column script_id VARCHAR: script of the recording's agent
-- column script_version VARCHAR: version of the script at the call
WITH failed AS (
    -- The first failure is the evidence, so that a source that fails again changes nothing.
    SELECT partition_date, resource, max(detail) FILTER (is_newest) AS detail,
        {
            'uri': 'receipt:' || min(landing_id), 'sha256': NULL::VARCHAR, 'what': 'receipt of ' || resource,
            'observed_at': min(finished_at)
        } AS evidence
    FROM staging.receipts
    WHERE receipt_state = 'failed'
    GROUP BY partition_date, resource
),

findings AS (
    SELECT * EXCLUDE (failed_source)
    FROM staging.gap_objects
    WHERE failed_source IS NULL
    UNION ALL BY NAME
    SELECT
        o.partition_date,
        '' AS conversation_id,
        'source:' || o.failed_source AS recording_id,
        o.reason,
        count(*) || ' recordings; ' || coalesce(any_value(f.detail), 'none could be read') AS detail,
        [any_value(f.evidence)] AS evidence
    FROM staging.gap_objects AS o
    INNER JOIN failed AS f ON f.partition_date = o.partition_date AND f.resource = o.failed_source
    GROUP BY o.partition_date, o.reason, o.failed_source
    UNION ALL BY NAME
    SELECT * FROM staging.gap_exports
    UNION ALL BY NAME
    SELECT * FROM staging.gap_conversations
    UNION ALL BY NAME
    SELECT * FROM staging.gap_tags
    UNION ALL BY NAME
    SELECT * FROM staging.gap_context
    UNION ALL BY NAME
    SELECT * FROM staging.gap_captures
    UNION ALL BY NAME
    SELECT partition_date, conversation_id, recording_id, 'ERASED' AS reason,
        'erasure ' || erasure_id || ': erasure.json in the cut of the night says what was removed and why' AS detail,
        [{'uri': 'erasure:' || erasure_id, 'sha256': NULL::VARCHAR, 'what': 'removal statement', 'observed_at': asked_at}]
            AS evidence
    FROM raw.erasures
)

SELECT
    f.partition_date,
    f.conversation_id,
    f.recording_id,
    f.reason,
    coalesce(f.severity, r.severity) AS severity,
    r.sentence,
    f.detail,
    to_json(f.evidence)::VARCHAR AS evidence,
    f.evidence AS proofs,
    -- Without a known end of the retention there is no time limit to name.
    CASE WHEN r.recoverable = 'until' AND f.recoverable_until IS NULL THEN 'yes' ELSE r.recoverable END AS recoverable,
    CASE WHEN r.recoverable = 'until' THEN f.recoverable_until END AS recoverable_until,
    r.next_action,
    CASE r.recheck
        WHEN 'lag' THEN f.partition_date + INTERVAL 1 DAY + to_hours($lag_hours::BIGINT)
        WHEN 'retention' THEN least(f.recoverable_until, f.partition_date + INTERVAL 1 DAY + to_days($recheck_days::INTEGER))
    END AS recheck_until,
    f.tag_keys,
    c.queue_names,
    x.user_ids,
    n.agent_names,
    s.script_id,
    s.script_version
FROM findings AS f
INNER JOIN staging.reasons AS r USING (reason)
LEFT JOIN staging.conversation_facts AS c USING (partition_date, conversation_id)
LEFT JOIN staging.recordings AS x USING (partition_date, conversation_id, recording_id)
LEFT JOIN staging.agent_names AS n ON n.partition_date = x.partition_date AND n.user_ids = x.user_ids
LEFT JOIN staging.recording_scripts AS s USING (partition_date, conversation_id, recording_id)
ORDER BY f.partition_date, f.conversation_id, f.recording_id, f.reason
