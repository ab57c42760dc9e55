-- The day on which the last conversation of a night ended, by the analytics job; `$now` while one of them goes on.
SELECT max(ended)::DATE
FROM (
    SELECT coalesce(max(conversation_end), $now) AS ended
    FROM raw.conversation_details
    WHERE partition_date = $night
    GROUP BY conversation_id
)
