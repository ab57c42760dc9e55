-- Kind of a recording by its object's extension: screen or interaction; null for audio and anything else.
CREATE OR REPLACE TEMP MACRO kind_of_extension(extension) AS
    CASE
        WHEN extension IN ('webm', 'mp4') THEN 'screen'
        WHEN extension IN ('zip', 'eml') THEN 'interaction'
    END
