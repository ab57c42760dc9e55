-- Reason why a recording's conversation is unknown, or not known well enough: CONVERSATION_FETCH_FAILED,
-- CONVERSATION_FORBIDDEN, CONVERSATION_NOT_FOUND, ERASED_AT_VENDOR, NOT_YET_AVAILABLE, SOURCE_NOT_CONFIGURED.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id, reason
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column reason: code of the reason
-- column detail: the particulars, without tag values
-- column evidence: documents and objects that prove it
WITH unknown AS (
    SELECT r.partition_date, r.conversation_id, r.recording_id, r.starts_about, r.starts_before, c.*
        EXCLUDE (partition_date, conversation_id)
    FROM staging.recordings AS r
    INNER JOIN staging.conversation_facts AS c USING (partition_date, conversation_id)
    WHERE c.single_read <> 'ok'
        -- If the analytics job's document has no tag, only the single read can tell "never set" from "set too late".
        AND (NOT c.in_details OR coalesce(c.details_tags, 'absent') <> 'present')
        AND NOT r.in_sessions AND NOT r.in_captures
        -- staging.gap_exports gives the same reason for the recording itself.
        AND NOT (r.listed_alone AND c.metadata_read NOT IN ('ok', 'not_found'))
        AND NOT (r.in_orphans AND NOT r.in_objects AND NOT r.in_metadata AND NOT c.in_details AND c.single_read = 'not_read')
),

erased AS (
    -- A request that was made before the night cannot be why the conversation is gone.
    SELECT partition_date, conversation_id, request_id, request_status, created_date, matched_by, evidence
    FROM staging.gdpr_requests
    WHERE request_status IN ('DELETING', 'FINALIZING', 'COMPLETED') AND created_date >= partition_date
    QUALIFY row_number() OVER (PARTITION BY partition_date, conversation_id ORDER BY created_date, request_id) = 1
),

findings AS (
    SELECT u.*, e.request_id, e.request_status, e.created_date, e.matched_by, e.evidence AS request_evidence,
        CASE
            WHEN NOT details_configured THEN 'SOURCE_NOT_CONFIGURED'
            WHEN single_read = 'forbidden' THEN 'CONVERSATION_FORBIDDEN'
            WHEN single_read = 'not_found' AND NOT in_details AND starts_before > watermark THEN 'NOT_YET_AVAILABLE'
            WHEN single_read = 'not_found' AND e.request_id IS NOT NULL THEN 'ERASED_AT_VENDOR'
            WHEN single_read = 'not_found' THEN 'CONVERSATION_NOT_FOUND'
            ELSE 'CONVERSATION_FETCH_FAILED'
        END AS reason
    FROM unknown AS u
    LEFT JOIN erased AS e USING (partition_date, conversation_id)
)

SELECT
    partition_date,
    conversation_id,
    recording_id,
    reason,
    CASE reason
        WHEN 'SOURCE_NOT_CONFIGURED' THEN 'no API credentials: its tags, its recording metadata and its jobs are unknown'
        WHEN 'NOT_YET_AVAILABLE' THEN 'began about ' || starts_about::VARCHAR || ' UTC; data are complete until '
            || watermark::VARCHAR || ' UTC'
        WHEN 'ERASED_AT_VENDOR' THEN 'request ' || request_id || ' of ' || created_date::VARCHAR || ' UTC ('
            || request_status || ') names somebody of it: ' || array_to_string(matched_by, ', ')
        WHEN 'CONVERSATION_FETCH_FAILED' THEN CASE
            WHEN NOT details_collected THEN 'the bulk job brought nothing for this night'
            WHEN single_read = 'not_read' THEN 'the bulk job does not have it, and it was not read by itself'
            ELSE 'the last answer: ' || coalesce(single_evidence.what, 'none')
        END
        ELSE coalesce(single_evidence.what, '') || CASE WHEN in_details THEN '; the bulk job has it, without tags' ELSE '' END
    END AS detail,
    list_filter(
        [
            receipt_evidence, details_evidence, single_evidence,
            CASE WHEN reason = 'ERASED_AT_VENDOR' THEN request_evidence END
        ],
        lambda x: x IS NOT NULL
    ) AS evidence
FROM findings
-- What an earlier load named, and nothing names now, may have the reason by itself.
ANTI JOIN staging.gap_exports USING (partition_date, conversation_id, recording_id, reason)
