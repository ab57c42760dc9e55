-- A moment with a zone as UTC; null for anything else, and for years outside 1900 to 2199. DuckDB reads years up to 294247,
-- and fails the query that then adds a second.
CREATE OR REPLACE TEMP MACRO utc_moment(written) AS
    CASE
        WHEN written >= '1900' AND written < '2200' AND written[5] = '-'
            THEN try_cast(written AS TIMESTAMPTZ) AT TIME ZONE 'UTC'
    END
