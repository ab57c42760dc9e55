-- No load has a later time than a load that came after it. Otherwise the clock of one of the machines was wrong. The
-- order of loads does not depend on clocks, so the night is right, but its times of observation may be wrong.
--
-- asset: raw.extraction_receipts
-- blocking: false
-- column resource: raw table of the load
-- column landing_id: load with the later time
-- column started_at: start of that load, by its machine's clock (UTC)
-- column newest_started_at: start of the newest load (UTC)
SELECT
    older.resource,
    older.landing_id,
    older.started_at,
    newer.started_at AS newest_started_at
FROM staging.receipts AS newer
INNER JOIN staging.receipts AS older
    ON older.partition_date = newer.partition_date AND older.resource = newer.resource
    AND older."sequence" < newer."sequence" AND older.started_at > newer.started_at
WHERE newer.is_newest
ORDER BY older.resource, older.landing_id
