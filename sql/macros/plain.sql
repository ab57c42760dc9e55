-- A key without case and punctuation, so that `Legal-Hold`, `legal_hold` and `LegalHold` are equal. So are the two ways to
-- write an accented letter. `plain` in models/mapping.py does the same.
CREATE OR REPLACE TEMP MACRO plain(given) AS
    regexp_replace(nfc_normalize(lower(given)), '[^\p{L}\p{N}]', '', 'g')
