-- Kind of a recording by what a document states of its media: screen, interaction, snippet; null if it is none of these.
CREATE OR REPLACE TEMP MACRO stated_kind(media, media_subtype) AS
    CASE
        WHEN 'screen' IN (lower(media), lower(media_subtype)) THEN 'screen'
        WHEN lower(media) IN ('chat', 'email', 'message', 'messaging') THEN 'interaction'
        WHEN lower(media_subtype) = 'snippet' THEN 'snippet'
    END
