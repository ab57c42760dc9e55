-- The newest name and e-mail address of every agent of the collected nights.
SELECT user_id, arg_max(coalesce(user_name, ''), partition_date), arg_max(coalesce(email, ''), partition_date)
FROM custody.agents
GROUP BY user_id
