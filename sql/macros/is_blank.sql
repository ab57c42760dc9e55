-- True if a tag's value is empty or has blanks only.
CREATE OR REPLACE TEMP MACRO is_blank(given) AS
    regexp_full_match(given, '[\s\x{0B}\x{85}\p{Z}]*')
