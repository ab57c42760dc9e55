-- An id as written; null for an id without characters, which names nothing.
CREATE OR REPLACE TEMP MACRO given(id) AS
    CASE WHEN trim(id) <> '' THEN id END
