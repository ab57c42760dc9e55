-- Every exported media file with content has a digest, or the reason OBJECT_UNREADABLE.
--
-- asset: custody.chain_of_custody
-- blocking: true
-- column conversation_id: conversation
-- column recording_id: recording
-- column object_uri: media without a digest
SELECT
    conversation_id,
    recording_id,
    object_uri
FROM custody.chain_of_custody
WHERE object_uri IS NOT NULL AND object_bytes > 0 AND media_sha256 IS NULL
    AND NOT list_contains(gap_reasons, 'OBJECT_UNREADABLE')
ORDER BY conversation_id, recording_id
