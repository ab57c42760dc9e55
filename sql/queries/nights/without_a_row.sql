-- Rows for the nights `$failed` and `$missing` that `custody.nights` does not have.
SELECT night AS partition_date, if(list_contains($failed::DATE[], night), 'failed', 'missing') AS state,
    0 AS recordings, 0 AS complete, 0 AS gaps, 0 AS excluded, 0 AS recoverable, 0 AS unexplained,
    'not_established' AS completeness
FROM unnest($failed::DATE[] || $missing::DATE[]) AS nights (night)
WHERE night NOT IN (SELECT partition_date FROM custody.nights)
