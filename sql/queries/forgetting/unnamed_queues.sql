-- Conversations with a queue whose name the client may not see, and their latest night.
SELECT conversation_id, max(partition_date)
FROM custody.chain_of_custody
WHERE len(queue_ids) > len(coalesce(queue_names, []))
GROUP BY conversation_id
