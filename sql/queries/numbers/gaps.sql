-- Counts of the rows of `custody.gaps`.
SELECT count(*) FILTER (severity = 'error') AS errors,
    count(*) FILTER (severity = 'warning') AS warnings,
    count(*) FILTER (severity = 'info') AS infos,
    count(*) FILTER (recoverable <> 'no') AS recoverable
FROM custody.gaps
WHERE partition_date = $night
