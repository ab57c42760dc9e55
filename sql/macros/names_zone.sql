-- True if a time, as written, names its zone. A time that is not there lacks none. A day alone names none.
CREATE OR REPLACE TEMP MACRO names_zone(written) AS
    coalesce(
        regexp_matches(written, '(Z|[+-]\d\d(:?\d\d)?)$') AND NOT regexp_full_match(written, '\d+-\d+-\d+'), true
    )
