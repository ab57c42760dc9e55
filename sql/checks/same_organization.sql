-- The objects of a night are in the folders of the same organisation as the objects of the night before it in the
-- warehouse. Otherwise the id of the organisation has changed, or the bucket is another organisation's.
--
-- asset: raw.export_objects
-- blocking: false
-- column organization_id: organisation of objects of this night
-- column other_night: the night before
-- column other_organization_id: organisation of its objects
WITH night_before AS (
    SELECT *
    FROM staging.night_organizations
    WHERE partition_date < getvariable('window_start')
    QUALIFY partition_date = max(partition_date) OVER ()
),

this_night AS (
    SELECT *
    FROM staging.night_organizations
    WHERE partition_date >= getvariable('window_start') AND partition_date < getvariable('window_end')
)

SELECT
    this_night.organization_id,
    night_before.partition_date AS other_night,
    night_before.organization_id AS other_organization_id
FROM this_night
CROSS JOIN night_before
WHERE this_night.organization_id NOT IN (SELECT organization_id FROM night_before)
ORDER BY this_night.organization_id, night_before.organization_id
