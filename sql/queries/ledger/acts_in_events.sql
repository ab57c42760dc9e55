-- The acts among the sealed custody events in the file `$path`: those of `$actions`, which no landing file tells.
SELECT partition_date, conversation_id, recording_id, occurred_at::TIMESTAMP AS occurred_at, action, operator, what,
    where_at, why, how, tool_version, git_revision, sha256_before, sha256_after
FROM read_parquet($path, hive_partitioning = false)
WHERE list_contains($actions, action)
    AND (action <> 'exception' OR what = 'run was killed' OR what SIMILAR TO 'step .* failed')
