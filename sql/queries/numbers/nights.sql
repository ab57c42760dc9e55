-- The counts of `custody.nights`.
SELECT recordings, complete, gaps, excluded, recoverable, unexplained,
    round(100.0 * complete / nullif(recordings, 0), 2) AS "complete %"
FROM custody.nights
WHERE partition_date = $night
