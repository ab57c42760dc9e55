-- Numbers, addresses and ids of people, as written, that any load of a night brought of the conversations `$ids`.
SELECT conversation_id, address
FROM (
    SELECT conversation_id, unnest(list_concat(
        flatten(flatten(list_transform(participants, lambda p: list_transform(p.sessions, lambda s: [s.ani, s.dnis])))),
        list_transform(participants, lambda p: p.user_id),
        people
    )) AS address
    FROM raw.conversation_details
    WHERE partition_date = $night AND list_contains($ids, conversation_id)
    UNION
    SELECT key_conversation_id, unnest(list_concat(
        flatten(list_transform(participants, lambda p: [p.ani, p.dnis, p.user_id])),
        people
    ))
    FROM raw.conversations
    WHERE partition_date = $night AND list_contains($ids, key_conversation_id)
)
WHERE address IS NOT NULL
