-- A moment as UTC, with or without seconds; one without a zone counts as UTC. Null for anything else, and for years outside
-- 1900 to 2199: DuckDB reads years up to 294247 and years `(BC)`, and fails the query that then adds a second.
CREATE OR REPLACE TEMP MACRO utc_moment(written) AS
    CASE
        WHEN written >= '1900' AND written < '2200' AND written[5] = '-' AND NOT contains(written, '(')
            THEN try_cast(
                CASE
                    WHEN written[14] = ':' AND written[17] <> ':' THEN written[:16] || ':00' || written[17:]
                    ELSE written
                END AS TIMESTAMPTZ
            ) AT TIME ZONE 'UTC'
    END
