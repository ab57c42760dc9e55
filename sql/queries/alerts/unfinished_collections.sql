-- Sources of a night that failed or are partial, and `night` if something is expected that is not there and has no reason.
-- A source that the vendor has not completed yet is left out: waiting mends it. A run that fails before the models have
-- run leaves newer receipts than the coverage.
WITH receipts AS (
    SELECT resource, receipt_state AS state
    FROM staging.receipts
    WHERE partition_date = $night AND is_newest AND receipt_state IN ('failed', 'partial')
)

SELECT resource, state FROM receipts
UNION ALL
SELECT source, state
FROM custody.coverage
WHERE partition_date = $night AND state = 'partial' AND source NOT IN (SELECT resource FROM receipts)
    AND NOT (
        source IN ('conversation_details', 'listed_recordings')
        AND coalesce(complete_until < $night::DATE + INTERVAL 1 DAY, true)
    )
UNION ALL
SELECT 'night', completeness
FROM custody.nights
WHERE partition_date = $night AND completeness = 'incomplete'
ORDER BY resource
