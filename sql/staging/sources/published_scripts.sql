-- Every version of a script that any night's snapshot found published. The snapshots together are a history.
--
-- grain: script_id, version_id
-- column script_id: script
-- column script_name: name of the script, as first seen with this version
-- column version_id: version
-- column published_date: when the version was published (UTC)
SELECT
    d.script_id,
    arg_min(d.script_name, (r."sequence", d.landing_id, d.script_name)) AS script_name,
    d.version_id,
    min(d.published_date) AS published_date
FROM raw.published_scripts AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable AND d.script_id IS NOT NULL AND d.version_id IS NOT NULL AND d.published_date IS NOT NULL
GROUP BY d.script_id, d.version_id
