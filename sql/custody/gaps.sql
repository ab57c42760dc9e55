-- Everything that is missing or odd, one row per recording and reason, with a sentence, the evidence and the next
-- action.
--
-- grain: partition_date, conversation_id, recording_id, reason
-- column partition_date DATE: UTC day of the conversation's start
-- column conversation_id VARCHAR: conversation
-- column recording_id VARCHAR: recording; `session:<id>`, `screen:<participant id>` or `capture:<id>` if only a session, a participant or live capture shows that a recording should exist; `object:<key>` for an object whose key names no recording
-- column reason VARCHAR: code of the reason
-- column severity VARCHAR: error or warning (the recording is a gap), or info
-- column sentence VARCHAR: what happened, in one sentence
-- column detail VARCHAR: particulars, without tag values
-- column evidence VARCHAR: JSON list of {uri, sha256, what, observed_at}: documents and objects that prove the reason
-- column recoverable VARCHAR: yes, no, or until (see recoverable_until)
-- column recoverable_until TIMESTAMP: time until which the gap can be closed (UTC); null if unknown
-- column next_action VARCHAR: what a person or the pipeline does next
-- column recheck_until TIMESTAMP: time until which a new collection may close the gap (UTC); null if it cannot
WITH found AS (
    SELECT * FROM staging.gap_objects
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
    -- Without a known end of the retention there is no time limit to name.
    CASE WHEN r.recoverable = 'until' AND f.recoverable_until IS NULL THEN 'yes' ELSE r.recoverable END AS recoverable,
    CASE WHEN r.recoverable = 'until' THEN f.recoverable_until END AS recoverable_until,
    r.next_action,
    CASE r.recheck
        WHEN 'lag' THEN f.partition_date + INTERVAL 1 DAY + to_hours($lag_hours::BIGINT)
        WHEN 'retention' THEN least(f.recoverable_until, f.partition_date + INTERVAL 1 DAY + to_days($recheck_days::INTEGER))
    END AS recheck_until
FROM found AS f
INNER JOIN staging.reasons AS r USING (reason)
ORDER BY f.partition_date, f.conversation_id, f.recording_id, f.reason
