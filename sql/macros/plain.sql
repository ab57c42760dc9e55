-- A key without case and punctuation, so that `Legal-Hold`, `legal_hold` and `LegalHold` are equal.
CREATE OR REPLACE TEMP MACRO plain(given) AS
    regexp_replace(lower(given), '[^\p{L}\p{N}]', '', 'g')
