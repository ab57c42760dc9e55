-- Numbers and addresses of callers and called, as written, that any load of a night brought of the conversations
-- `$ids`.
SELECT conversation_id, address
FROM (
    SELECT conversation_id, unnest(flatten(flatten(list_transform(
        participants, lambda p: list_transform(p.sessions, lambda s: [s.ani, s.dnis])
    )))) AS address
    FROM raw.conversation_details
    WHERE partition_date = $night AND list_contains($ids, conversation_id)
    UNION
    SELECT key_conversation_id, unnest(flatten(list_transform(participants, lambda p: [p.ani, p.dnis])))
    FROM raw.conversations
    WHERE partition_date = $night AND list_contains($ids, key_conversation_id)
)
WHERE address IS NOT NULL
