-- Conversations with a division whose name the client may not see, and their latest night.
SELECT conversation_id, max(partition_date)
FROM custody.divisions
WHERE division_name IS NULL
GROUP BY conversation_id
