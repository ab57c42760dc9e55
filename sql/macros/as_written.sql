-- A typed attribute's value as it is written. custody_pipeline/extract/verbatim.py marks the text of a value that was no text.
CREATE OR REPLACE TEMP MACRO as_written(given) AS
    CASE WHEN starts_with(given ->> '$', chr(1) || '#') THEN (given ->> '$')[3:] ELSE given ->> '$' END
