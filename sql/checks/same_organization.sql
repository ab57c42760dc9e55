-- The objects of a night are in the folders of the same organisation as the objects of the night before it in the
-- warehouse. Otherwise the id of the organisation has changed, or the bucket is another organisation's.
--
-- asset: raw.export_objects
-- blocking: false
-- column organization_id: organisation of objects of this night
-- column other_night: the night before
-- column other_organization_id: organisation of its objects
WITH others AS (
    SELECT *
    FROM staging.night_organizations
    WHERE partition_date < getvariable('window_start')
    QUALIFY partition_date = max(partition_date) OVER ()
),

here AS (
    SELECT *
    FROM staging.night_organizations
    WHERE partition_date >= getvariable('window_start') AND partition_date < getvariable('window_end')
)

SELECT
    here.organization_id,
    others.partition_date AS other_night,
    others.organization_id AS other_organization_id
FROM here
CROSS JOIN others
WHERE here.organization_id NOT IN (SELECT organization_id FROM others)
ORDER BY here.organization_id, others.organization_id
