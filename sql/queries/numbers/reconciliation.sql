-- Counts of the rows of `custody.reconciliation`.
SELECT sum(unexplained)::BIGINT AS unexplained,
    max(expected) FILTER (source = 'recordings')::BIGINT AS expected,
    max(present) FILTER (source = 'recordings')::BIGINT AS present,
    max(explained) FILTER (source = 'recordings')::BIGINT AS explained
FROM custody.reconciliation
WHERE partition_date = $night
