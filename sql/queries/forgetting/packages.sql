-- Packages with recordings of the conversations in `erased_ids`, by the ledger: SHA-256, name, number of these
-- recordings, who and why.
SELECT sha256_after, where_at, count(DISTINCT recording_id),
    'made on ' || min(occurred_at)::DATE || ' by ' || min(operator) || ': ' || min(why)
FROM raw.acts
WHERE action = 'packaged' AND how = 'signed BagIt package' AND lower(conversation_id) IN (SELECT id FROM erased_ids)
GROUP BY ALL
ORDER BY ALL
