-- Everything expected is present or explained. No source has an unexplained count, and every row without media or tags
-- has a reason. A night with a row here is published as `incomplete`.
--
-- asset: custody.reconciliation
-- blocking: false
-- column source: source of the reconciliation, or chain_of_custody
-- column subject: recording; null for a source
-- column unexplained: unexplained count
SELECT
    source,
    NULL::VARCHAR AS subject,
    unexplained
FROM custody.reconciliation
WHERE unexplained <> 0
UNION ALL
SELECT
    'chain_of_custody' AS source,
    conversation_id || '/' || recording_id AS subject,
    1 AS unexplained
FROM custody.chain_of_custody
WHERE (object_uri IS NULL OR custom_data_state <> 'present') AND len(gap_reasons) = 0
ORDER BY source, subject
