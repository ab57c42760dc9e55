-- True if a JSON object has a key twice. Which of the values counts is then unknown.
CREATE OR REPLACE TEMP MACRO repeats_a_key(attributes) AS
    len(list_distinct(map_keys(attributes))) < cardinality(attributes)
