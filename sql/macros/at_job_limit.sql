-- True if a text is as long as the bulk analytics job leaves a key or value at most: 1,024 UTF-16 units. A character beyond
-- the basic plane, such as an emoji, is two units and one character, so that counting characters misses cut texts.
CREATE OR REPLACE TEMP MACRO at_job_limit(given) AS
    CASE
        WHEN length(given) >= 1024 THEN true
        WHEN length(given) < 512 THEN false
        ELSE length(regexp_replace(given, '[\x{10000}-\x{10FFFF}]', 'xx', 'g')) >= 1024
    END
