-- The newest published revision of each night.
SELECT partition_date, max(try_cast(regexp_extract(what, '^revision ([0-9]+)', 1) AS INTEGER))
FROM custody.custody_events
WHERE action = 'published' AND conversation_id = ''
GROUP BY partition_date
