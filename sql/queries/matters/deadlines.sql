-- The earliest deadline of each recording in `$keys` that has one.
SELECT conversation_id, recording_id, min(recoverable_until)
FROM custody.gaps
SEMI JOIN (SELECT unnest($keys::STRUCT(c VARCHAR, r VARCHAR)[], recursive := true)) AS k
    ON k.c = conversation_id AND k.r = recording_id
WHERE recoverable = 'until' AND recoverable_until IS NOT NULL
GROUP BY ALL
