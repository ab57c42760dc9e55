-- Every night from `$first` to `$last`, also one that nobody collected, with the counts of its recordings in
-- `report_recordings`.
WITH days AS (
    SELECT unnest(range($first::DATE, $last::DATE + INTERVAL 1 DAY, INTERVAL 1 DAY))::DATE AS night
),

statuses AS (
    SELECT partition_date AS night, count(*) AS recordings,
        count(*) FILTER (custody_status = 'complete') AS complete,
        count(*) FILTER (custody_status = 'gap') AS gaps,
        count(*) FILTER (custody_status = 'excluded') AS excluded,
        count(*) FILTER (account = 'present') AS present, count(*) FILTER (account = 'explained') AS explained,
        count(*) FILTER (account = 'unexplained') AS unexplained
    FROM report_recordings
    GROUP BY ALL
)

SELECT d.night, n.completeness, n.state, coalesce(n.collected_at IS NOT NULL, false) AS collected,
    s.* EXCLUDE (night)
FROM days AS d
LEFT JOIN custody.nights AS n ON n.partition_date = d.night
LEFT JOIN statuses AS s USING (night)
ORDER BY d.night
