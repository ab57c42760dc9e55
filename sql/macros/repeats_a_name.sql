-- True if a JSON text is an object that has a name twice. Which of the values counts is then unknown.
CREATE OR REPLACE TEMP MACRO repeats_a_name(document) AS
    len(list_distinct(json_keys(document))) < len(json_keys(document))
