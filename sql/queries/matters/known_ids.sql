-- Which of `$ids` some collected night has, as a conversation or a recording.
SELECT id
FROM (SELECT unnest($ids::VARCHAR[]) AS id) AS asked
WHERE id IN (SELECT lower(conversation_id) FROM custody.chain_of_custody)
    OR id IN (SELECT lower(recording_id) FROM custody.chain_of_custody)
