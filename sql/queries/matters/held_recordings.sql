-- Recordings whose conversation, audio or sidecar is one of `$places`.
SELECT place, partition_date, conversation_id, recording_id
FROM custody.chain_of_custody AS c
INNER JOIN (SELECT unnest($places::VARCHAR[]) AS place) AS p
    ON p.place IN (c.conversation_id, c.object_uri, c.sidecar_uri)
ORDER BY ALL
