-- Newest known name of each division.
--
-- grain: division_id
-- column division_id: division
-- column division_name: name of the division
SELECT
    d.division_id,
    arg_max(d.division_name, (r."sequence", d.landing_id)) AS division_name
FROM raw.divisions AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable AND d.division_id IS NOT NULL
GROUP BY d.division_id
