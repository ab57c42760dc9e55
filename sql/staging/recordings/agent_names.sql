-- Names for each list of agents that a recording has.
--
-- materialized: window
-- grain: partition_date, user_ids
-- column partition_date: UTC day of the conversation's start
-- column user_ids [pii]: agents in a recording
-- column agent_names [pii]: their names, in the order of the ids; null for one whose name is not known
WITH lists AS (
    SELECT DISTINCT partition_date, user_ids
    FROM staging.recordings
),

agents AS (
    SELECT partition_date, user_ids, unnest(user_ids) AS user_id, generate_subscripts(user_ids, 1) AS place
    FROM lists
)

SELECT a.partition_date, a.user_ids, list(u.user_name ORDER BY a.place) AS agent_names
FROM agents AS a
LEFT JOIN staging.night_users AS u USING (partition_date, user_id)
GROUP BY a.partition_date, a.user_ids
HAVING count(u.user_name) > 0
