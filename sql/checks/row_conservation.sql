-- Every recording in staging, and every erased one, is in chain_of_custody exactly once, and chain_of_custody has no other
-- row.
--
-- asset: custody.chain_of_custody
-- blocking: true
-- column conversation_id: conversation
-- column recording_id: recording
-- column in_staging: rows in staging.recording_keys
-- column in_custody: rows in custody.chain_of_custody
WITH both_sides AS (
    SELECT conversation_id, recording_id, 1 AS in_staging, 0 AS in_custody
    FROM (
        SELECT conversation_id, recording_id FROM staging.recording_keys
        UNION
        SELECT conversation_id, recording_id FROM raw.erasures
    )
    UNION ALL
    SELECT conversation_id, recording_id, 0, 1
    FROM custody.chain_of_custody
)

SELECT
    conversation_id,
    recording_id,
    sum(in_staging)::BIGINT AS in_staging,
    sum(in_custody)::BIGINT AS in_custody
FROM both_sides
GROUP BY conversation_id, recording_id
HAVING sum(in_staging) <> 1 OR sum(in_custody) <> 1
ORDER BY conversation_id, recording_id
