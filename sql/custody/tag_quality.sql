-- How well each tag of the mapping was set: recordings that should have it, by queue and script version, and what
-- became of it. expected = present + empty + elsewhere + variant + no_value + unavailable + missing.
--
-- grain: partition_date, tag_key, column_name, queue_names, script_id, script_version
-- column partition_date DATE: UTC day of the conversation's start
-- column tag_key VARCHAR: key that the mapping names
-- column column_name VARCHAR: the tag's column in chain_of_custody
-- column required BOOLEAN: true if the mapping requires the tag
-- column queue_names VARCHAR: queues of the conversation, joined by a comma; empty without one
-- column script_id VARCHAR: script of the recording's agent; empty without one
-- column script_version VARCHAR: version of the script at the call; empty if unknown
-- column script_name VARCHAR: name of the script, where the client may see it
-- column expected BIGINT: recordings to which the mapping applies the tag
-- column present BIGINT: recordings with a value
-- column empty BIGINT: recordings whose value is empty or has blanks only
-- column elsewhere BIGINT: set on a participant that the mapping does not list
-- column variant BIGINT: set under a key that differs in case or punctuation, or begins with a prefix of the platform
-- column no_value BIGINT: the key is there, without a value or without the mapping's path
-- column unavailable BIGINT: not found, and no source of the recording's tags could be read
-- column missing BIGINT: set nowhere, although the tags could be read
SELECT
    m.partition_date,
    m.attribute AS tag_key,
    m.column_name,
    m.required,
    coalesce(array_to_string(c.queue_names, ', '), '') AS queue_names,
    coalesce(c.script_id, '') AS script_id,
    coalesce(c.script_version, '') AS script_version,
    max(c.script_name) AS script_name,
    count(*) AS expected,
    count(*) FILTER (m.status = 'found') AS present,
    count(*) FILTER (m.status = 'blank') AS empty,
    count(*) FILTER (m.status = 'elsewhere') AS elsewhere,
    count(*) FILTER (m.status IN ('prefixed', 'variant')) AS variant,
    count(*) FILTER (m.status = 'no_value') AS no_value,
    count(*) FILTER (m.status = 'missing' AND c.custom_data_state = 'unavailable') AS unavailable,
    count(*) FILTER (m.status = 'missing' AND c.custom_data_state <> 'unavailable') AS missing
FROM staging.mapped_tags AS m
INNER JOIN custody.chain_of_custody AS c USING (partition_date, conversation_id, recording_id)
WHERE m.applies
GROUP BY ALL
ORDER BY ALL
