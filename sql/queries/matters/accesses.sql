-- Who did what at the vendor with the recordings in table `asked`, by the vendor's audits and without our own collection.
-- An entry about a whole conversation counts for each of its recordings.
SELECT coalesce(user_name, user_id, 'client ' || client_id, 'unknown') AS who, action,
    count(DISTINCT {'c': k.c, 'r': k.r}), min(occurred_at), max(occurred_at),
    list_sort(list_distinct(flatten(list(from_ips))))
FROM custody.access_events AS a
INNER JOIN asked AS k
    ON k.c = a.conversation_id AND a.recording_id IN (k.r, '')
WHERE NOT is_own_collection
GROUP BY ALL
ORDER BY min(occurred_at) NULLS LAST, who, action
