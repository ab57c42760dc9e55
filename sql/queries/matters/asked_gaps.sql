-- The gaps, among the rows `night_gaps` that the caller gives, of the recordings in table `asked`.
SELECT g.*, k.has_audio
FROM night_gaps AS g
INNER JOIN asked AS k ON k.n = g.partition_date AND k.c = g.conversation_id AND k.r = g.recording_id
