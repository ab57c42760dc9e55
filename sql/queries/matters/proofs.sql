-- What proves that a recording in table `asked` has no audio, as a text: the documents and objects of gaps with the reasons
-- `$of_audio`.
WITH proofs AS (
    SELECT DISTINCT conversation_id, recording_id, unnest(proofs) AS proof
    FROM custody.gaps
    SEMI JOIN asked AS k
        ON k.c = conversation_id AND k.r = recording_id
    WHERE list_contains($of_audio, reason)
)

SELECT conversation_id, recording_id,
    string_agg(proof.what || ' ' || proof.uri || coalesce(' sha256 ' || proof.sha256, ''), '; ' ORDER BY proof) AS proofs
FROM proofs
GROUP BY ALL
