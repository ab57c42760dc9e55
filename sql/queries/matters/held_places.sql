-- What a hold may be on, and the recordings that it is of: conversations, and every key of audio and sidecars that a listing
-- or a load ever had, since a deleted object has earlier versions. Of the recordings of `$conversations`, and at `$places`.
WITH told AS (
    SELECT partition_date, conversation_id, recording_id, unnest([conversation_id, object_uri, sidecar_uri]) AS place
    FROM custody.chain_of_custody
    UNION
    SELECT partition_date, conversation_id, recording_id, regexp_replace(where_at, '\?versionId=[^?]*$', '')
    FROM custody.custody_events
    WHERE what IN ('media', 'export_sidecars document') AND starts_with(where_at, 's3://')
)

SELECT place, partition_date, conversation_id, recording_id
FROM told
WHERE place <> ''
    AND (
        conversation_id IN (SELECT unnest($conversations::VARCHAR[]))
        OR place IN (SELECT unnest($places::VARCHAR[]))
    )
ORDER BY ALL
