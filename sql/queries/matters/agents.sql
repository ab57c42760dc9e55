-- The newest known name and e-mail address of every agent of the collected nights, and all that some night knew.
SELECT user_id, coalesce(arg_max(user_name, partition_date), ''), coalesce(arg_max(email, partition_date), ''),
    list_distinct(list(user_name) || list(email))
FROM custody.agents
GROUP BY user_id
