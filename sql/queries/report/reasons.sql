-- The reasons in `report_gaps`, errors first. `first` is the next deadline after `$now`.
SELECT reason, severity, file, sentence, count(*) AS recordings,
    list_sort(list_distinct(flatten(list(tag_keys) FILTER (tag_keys IS NOT NULL)))) AS tags,
    count(*) FILTER (recoverable <> 'no' AND coalesce(recoverable_until > $now, true)) AS recoverable,
    min(recoverable_until) FILTER (recoverable_until > $now) AS first
FROM report_gaps
GROUP BY reason, severity, file, sentence
ORDER BY list_position(['error', 'warning', 'info'], severity), recordings DESC, reason
