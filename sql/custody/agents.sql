-- Names and addresses of the agents in the night's recordings, as the newest list of users had them when the night
-- last ran. Published below live/, and not sealed: a name may change, and is not what was exported.
--
-- grain: partition_date, user_id
-- column partition_date DATE: UTC day of the conversation's start
-- column user_id VARCHAR [pii]: agent, as in user_ids of chain_of_custody
-- column user_name VARCHAR [pii]: name; null if the list of users does not have the agent
-- column email VARCHAR [pii]: e-mail address
-- column division_name VARCHAR: name of the agent's division
WITH agents AS (
    SELECT DISTINCT partition_date, unnest(user_ids) AS user_id
    FROM custody.chain_of_custody
)

SELECT a.partition_date, a.user_id, u.user_name, u.email, u.division_name
FROM agents AS a
LEFT JOIN staging.users AS u USING (user_id)
WHERE a.user_id IS NOT NULL
ORDER BY a.partition_date, a.user_id
