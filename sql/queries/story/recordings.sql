-- The rows of a recording, or of every recording of a conversation: `$subject` is the id of either.
SELECT *
FROM custody.chain_of_custody
WHERE lower($subject) IN (lower(recording_id), lower(conversation_id))
ORDER BY partition_date, recording_start NULLS LAST, recording_id
