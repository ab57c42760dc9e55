-- An id as the API writes it: a UUID in small letters, any other id as written; null for an id without characters, which names
-- nothing.
CREATE OR REPLACE TEMP MACRO given(id) AS
    CASE
        WHEN trim(id) = '' THEN NULL
        WHEN id <> lower(id) AND regexp_full_match(id, '[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}') THEN lower(id)
        ELSE id
    END
