-- The night's rows that are new or changed in a revision, as rows of `raw.row_versions`.
SELECT partition_date, conversation_id, recording_id, row_sha256, revision
FROM custody.chain_of_custody
WHERE partition_date = $night AND revision = $revision
ORDER BY conversation_id, recording_id
