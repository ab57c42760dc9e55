-- The value at a path in a JSON text, as text. Numbers keep their characters, which DuckDB's parser would rewrite: each number
-- of the text is made a marked string first, and the marks are removed from what is found. Group 1 passes over all
-- strings, so that numbers inside of them stay.
CREATE OR REPLACE TEMP MACRO value_at(given, place) AS
    regexp_replace(
        regexp_replace(
            json_extract_string(
                regexp_replace(
                    regexp_replace(
                        given,
                        '((?:"(?:[^"\\]|\\.)*"|[^"0-9-])*)(-?[0-9][0-9.eE+-]*|$)',
                        '\1"\\u0001#\2"',
                        'gs'
                    ),
                    '"\\u0001#"$',
                    ''
                ),
                place
            ),
            '"\\u0001#([^"]*)"',
            '\1',
            'g'
        ),
        '^\x01#',
        ''
    )
