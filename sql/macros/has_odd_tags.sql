-- True if a field of a document of the export that may hold tags is neither an object nor null.
CREATE OR REPLACE TEMP MACRO has_odd_tags(document) AS
    coalesce(list_bool_or([
        json_type(document, '$.custom_data') NOT IN ('OBJECT', 'NULL'),
        json_type(document, '$.customData') NOT IN ('OBJECT', 'NULL'),
        json_type(document, '$.attributes') NOT IN ('OBJECT', 'NULL')
    ]), false)
