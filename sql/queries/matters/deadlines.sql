-- Until when the audio of each recording can be recovered, if a time is known: the earliest deadline among the gaps
-- `asked_gaps` with the reasons `$of_audio`.
SELECT conversation_id, recording_id, min(recoverable_until)
FROM asked_gaps
WHERE list_contains($of_audio, reason) AND recoverable = 'until' AND recoverable_until IS NOT NULL
GROUP BY ALL
