-- Conversations and their nights, without erased ones.
SELECT DISTINCT conversation_id, partition_date
FROM custody.chain_of_custody
WHERE conversation_id <> '' AND NOT list_contains(coalesce(gap_reasons, []), 'ERASED')
