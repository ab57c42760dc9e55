-- The organisations in whose folders the objects of each night are. checks.same_organization compares nights.
--
-- materialized: window
-- grain: partition_date, organization_id
-- column partition_date: UTC day of the conversation's start
-- column organization_id: organisation, in small letters
SELECT DISTINCT
    partition_date,
    lower(organization_id) AS organization_id
FROM staging.export_objects
WHERE is_current AND is_latest AND NOT is_delete_marker AND organization_id IS NOT NULL
