-- Everything that is missing or odd, one row per recording and reason, with the sentence, the proof and what to do.
--
-- grain: partition_date, conversation_id, recording_id, reason
-- column partition_date DATE: UTC day of the conversation's start
-- column conversation_id VARCHAR: conversation
-- column recording_id VARCHAR: recording; `session:<id>` or `capture:<id>` where only a session or live capture says that there is one
-- column reason VARCHAR: code of the reason
-- column severity VARCHAR: error, warning (both make the recording a gap) or info
-- column sentence VARCHAR: what happened, for people
-- column detail VARCHAR: the particulars, without tag values
-- column evidence VARCHAR: JSON list of {uri, sha256, what, observed_at}: the documents and objects that prove it
-- column recoverable VARCHAR: yes, no, or until (see recoverable_until)
-- column recoverable_until TIMESTAMP: until when something can be done (UTC), where that is known
-- column next_action VARCHAR: what to do next
-- column recheck_until TIMESTAMP: until when collecting the night again may close it (UTC); null where it cannot
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
    -- A retention that nobody knows ends at no known time.
    CASE WHEN r.recoverable = 'until' AND f.recoverable_until IS NULL THEN 'yes' ELSE r.recoverable END AS recoverable,
    CASE WHEN r.recoverable = 'until' THEN f.recoverable_until END AS recoverable_until,
    r.next_action,
    CASE r.recheck
        WHEN 'lag' THEN f.partition_date + INTERVAL 1 DAY + to_hours($lag_hours::BIGINT)
        WHEN 'retention' THEN least(f.recoverable_until, f.partition_date + INTERVAL 1 DAY + to_days($recheck_days::INTEGER))
    END AS recheck_until
FROM found AS f
INNER JOIN staging.reasons AS r ON r.reason = f.reason
ORDER BY f.partition_date, f.conversation_id, f.recording_id, f.reason
