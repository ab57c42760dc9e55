-- Until when the audio of each recording in table `asked` can be recovered, if a time is known: the earliest deadline of gaps
-- with the reasons `$of_audio`.
SELECT conversation_id, recording_id, min(recoverable_until)
FROM custody.gaps
SEMI JOIN asked AS k
    ON k.c = conversation_id AND k.r = recording_id
WHERE list_contains($of_audio, reason) AND recoverable = 'until' AND recoverable_until IS NOT NULL
GROUP BY ALL
