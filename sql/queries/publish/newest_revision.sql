-- The night's newest revision in the warehouse.
SELECT revision, content_sha256, completeness, files
FROM raw.publications
WHERE partition_date = $night
ORDER BY revision DESC, published_at DESC
LIMIT 1
