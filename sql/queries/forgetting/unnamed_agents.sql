-- Conversations with an agent whose name the client may not see, and their latest night.
WITH agents AS (
    SELECT conversation_id, partition_date, unnest(user_ids) AS user_id
    FROM custody.chain_of_custody
),

named AS (
    SELECT user_id
    FROM custody.agents
    WHERE user_name IS NOT NULL
)

SELECT conversation_id, max(partition_date)
FROM agents
ANTI JOIN named USING (user_id)
GROUP BY conversation_id
