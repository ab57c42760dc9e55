-- The recordings among the rows `selected`, which the caller gives, in the order of their conversations' start.
SELECT partition_date, conversation_id, recording_id,
    CASE
        WHEN lower(media_subtype) = 'screen' THEN 'screen'
        ELSE replace(replace(lower(coalesce(media_type, '')), 'audio', 'call'), 'messaging', 'message')
    END,
    media_sha256, object_uri, sidecar_uri, coalesce(row_sha256, ''), coalesce(custody_status, ''), coalesce(gap_reasons, [])
FROM selected
ORDER BY conversation_start NULLS LAST, conversation_id, recording_start NULLS LAST, recording_id
