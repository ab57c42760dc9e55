-- What proves the gaps of each recording without audio in table `asked`, as a text.
WITH proofs AS (
    SELECT DISTINCT conversation_id, recording_id, unnest(proofs) AS proof
    FROM custody.gaps
    SEMI JOIN asked AS k
        ON k.c = conversation_id AND k.r = recording_id AND NOT k.has_audio
    WHERE severity <> 'info'
)

SELECT conversation_id, recording_id,
    string_agg(proof.what || ' ' || proof.uri || coalesce(' sha256 ' || proof.sha256, ''), '; ' ORDER BY proof) AS proofs
FROM proofs
GROUP BY ALL
