-- Recordings of conversations that go on after the night, one row per night. An export job selects every conversation
-- that is active in its interval, so a job of the next night counts these recordings, too.
--
-- materialized: window
-- grain: partition_date
-- column partition_date: UTC day of the conversation's start
-- column ends: end of the conversation (UTC), one entry per recording
SELECT
    night.partition_date,
    coalesce(
        list(recording.conversation_end ORDER BY recording.conversation_end) FILTER (
            recording.conversation_end >= night.partition_date + INTERVAL 1 DAY
        ),
        []
    ) AS ends
FROM window_nights() AS night
LEFT JOIN staging.recordings AS recording USING (partition_date)
GROUP BY night.partition_date
