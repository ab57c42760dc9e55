-- Every tag that the warehouse has seen, the most frequent first, with the purposes of its participants. Keys that no mapping
-- can have are left out: those longer than `$longest`, and those with a NUL.
WITH counted AS (
    SELECT tag_key, purpose, count(*) AS recordings FROM staging.resolved_tags
    WHERE tag_key <> '' AND length(tag_key) <= $longest AND NOT contains(tag_key, chr(0))
    GROUP BY ALL
)

SELECT tag_key, list(purpose ORDER BY recordings DESC, purpose) FILTER (purpose <> '')
FROM counted
GROUP BY tag_key
ORDER BY sum(recordings) DESC, tag_key LIMIT $most
