-- The earliest deadline of each recording without audio in table `asked`, if it has one.
SELECT conversation_id, recording_id, min(recoverable_until)
FROM custody.gaps
SEMI JOIN asked AS k
    ON k.c = conversation_id AND k.r = recording_id AND NOT k.has_audio
WHERE recoverable = 'until' AND recoverable_until IS NOT NULL
GROUP BY ALL
