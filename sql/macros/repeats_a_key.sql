-- Whether an object of a document has a key twice: then nobody can tell which of the values counts.
CREATE OR REPLACE TEMP MACRO repeats_a_key(attributes) AS
    len(list_distinct(map_keys(attributes))) < cardinality(attributes)
