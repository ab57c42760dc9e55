-- Every field of a document of the export that holds tags or none, those with tags first.
CREATE OR REPLACE TEMP MACRO tag_fields(given) AS
    list_filter([given.custom_data, given.customData, given.attributes], lambda found: cardinality(found) > 0)
    || list_filter([given.custom_data, given.customData, given.attributes], lambda found: cardinality(found) = 0)
