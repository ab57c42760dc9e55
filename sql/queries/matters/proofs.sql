-- What proves that a recording has no audio, as a text: the documents and objects of the gaps `asked_gaps` with the reasons
-- `$of_audio`.
SELECT conversation_id, recording_id,
    string_agg(proof.what || ' ' || proof.uri || coalesce(' sha256 ' || proof.sha256, ''), '; ' ORDER BY proof) AS proofs
FROM (
    SELECT DISTINCT conversation_id, recording_id, unnest(proofs) AS proof
    FROM asked_gaps
    WHERE list_contains($of_audio, reason)
)
GROUP BY ALL
