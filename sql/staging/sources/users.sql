-- Newest known name and address of each user.
--
-- grain: user_id
-- column user_id [pii]: user
-- column user_name [pii]: name of the user
-- column email [pii]: e-mail address of the user
-- column division_name: name of the user's division
SELECT
    d.user_id,
    arg_max(d.user_name, (r."sequence", d.landing_id)) AS user_name,
    arg_max(d.email, (r."sequence", d.landing_id)) AS email,
    arg_max(d.division_name, (r."sequence", d.landing_id)) AS division_name
FROM raw.users AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable AND d.user_id IS NOT NULL
GROUP BY d.user_id
