-- Sources of a night whose newest collection failed or was partial.
SELECT resource, receipt_state
FROM staging.receipts
WHERE partition_date = $night AND is_newest AND receipt_state IN ('failed', 'partial')
ORDER BY resource
