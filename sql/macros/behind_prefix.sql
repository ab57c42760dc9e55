-- What stands in a key behind a prefix of the platform: `context.` in web chats, `conversationDetails.participantData.` for
-- attributes that the agent's view shows. Null for a key without one. `without_prefix` in models/mapping.py does the same.
CREATE OR REPLACE TEMP MACRO behind_prefix(given) AS
    nullif(regexp_extract(given, '^(?i:context|conversationdetails\.participantdata)\.(.+)$', 1, 's'), '')
