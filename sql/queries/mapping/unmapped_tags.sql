-- Tags of a night that the mapping does not name, the most frequent first, with the purposes of their participants.
SELECT r.tag_key, count(*), list_sort(list_distinct(list(r.purpose))) FROM staging.resolved_tags AS r
WHERE r.partition_date = $night AND NOT r.is_mapped
GROUP BY r.tag_key
ORDER BY count(*) DESC, r.tag_key
