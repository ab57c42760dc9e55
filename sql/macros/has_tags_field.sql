-- True if a document of the export has a field that may hold tags, even an empty one.
CREATE OR REPLACE TEMP MACRO has_tags_field(document) AS
    json_exists(document, '$.custom_data') OR json_exists(document, '$.customData') OR json_exists(document, '$.attributes')
