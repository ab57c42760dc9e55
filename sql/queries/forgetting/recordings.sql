-- Every row that was ever modelled or published of the conversations in `erased_ids`.
SELECT DISTINCT partition_date, conversation_id, recording_id
FROM (
    SELECT partition_date, conversation_id, recording_id FROM custody.chain_of_custody
    UNION ALL
    SELECT partition_date, conversation_id, recording_id FROM raw.row_versions
)
WHERE lower(conversation_id) IN (SELECT id FROM erased_ids)
ORDER BY ALL
