-- Name of each user as the night's first list of users has it. A user whose name changes later thus changes no night.
--
-- grain: partition_date, user_id
-- column partition_date: UTC day that was collected
-- column user_id [pii]: user
-- column user_name [pii]: name of the user
SELECT
    d.partition_date,
    d.user_id,
    arg_min(d.user_name, (r."sequence", d.landing_id, d.user_name)) AS user_name
FROM raw.users AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable AND d.user_id IS NOT NULL
GROUP BY d.partition_date, d.user_id
