-- Whatever is expected is present or explained: no source has something unexplained, and a row whose media or tags are
-- missing has a reason.
--
-- blocking: true
-- column source: source of the reconciliation, or chain_of_custody
-- column subject: the recording, where it is one
-- column unexplained: how many
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
