-- Who did what at the vendor with the recordings in table `asked`, by the vendor's audits and without our own collection.
-- An entry about a whole conversation counts for each of its recordings. Persons of one name are told apart by their ids, and
-- what did not succeed from what did.
WITH acts AS (
    SELECT a.*, k.r, coalesce(user_name, user_id, 'client ' || client_id, 'unknown') AS name,
        lower(coalesce(outcome, 'outcome unknown')) AS ended
    FROM custody.access_events AS a
    INNER JOIN asked AS k
        ON k.c = a.conversation_id AND a.recording_id IN (k.r, '')
    WHERE NOT is_own_collection
),

names AS (
    SELECT name, count(DISTINCT user_id) > 1 AS is_shared
    FROM acts
    GROUP BY name
)

SELECT name || if(is_shared, coalesce(', user ' || user_id, ''), '') AS who,
    action || if(ended = 'success', '', ' (' || ended || ')') AS did,
    count(DISTINCT {'c': conversation_id, 'r': r}), min(occurred_at), max(occurred_at),
    list_sort(list_distinct(flatten(list(from_ips))))
FROM acts
INNER JOIN names USING (name)
GROUP BY ALL
ORDER BY min(occurred_at) NULLS LAST, who, did
