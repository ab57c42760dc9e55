-- gap_reasons of a recording are the codes of its rows in gaps, and of rows about a source that failed as a whole.
--
-- asset: custody.gaps
-- blocking: false
-- column conversation_id: conversation
-- column recording_id: recording
-- column reason: code that one of the two tables lacks
-- column finding: which of them
WITH reasons_in_rows AS (
    SELECT conversation_id, recording_id, unnest(gap_reasons) AS reason
    FROM custody.chain_of_custody
)

SELECT
    conversation_id,
    recording_id,
    reason,
    'no row in gaps' AS finding
FROM reasons_in_rows
ANTI JOIN custody.gaps USING (conversation_id, recording_id, reason)
WHERE reason NOT IN (
    SELECT reason
    FROM custody.gaps
    WHERE recording_id LIKE 'source:%'
)
UNION ALL
SELECT
    gaps.conversation_id,
    gaps.recording_id,
    gaps.reason,
    'not in gap_reasons' AS finding
FROM custody.gaps AS gaps
SEMI JOIN custody.chain_of_custody USING (conversation_id, recording_id)
ANTI JOIN reasons_in_rows USING (conversation_id, recording_id, reason)
ORDER BY conversation_id, recording_id, reason
