-- Script and flow of each recording. The platform stores no script version per call, so the version is inferred: the
-- latest version that was published at or before the conversation's start.
--
-- materialized: window
-- grain: partition_date, conversation_id, recording_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column script_id: script of the recording's own agent leg, else of the conversation's first agent with a script
-- column script_version: inferred version of the script at the call
-- column script_name: name of the script in that version; without a version, in its first one
-- column flow_id: first Architect flow of the conversation
-- column flow_version: version of that flow
-- column flow_name: name of that flow
WITH scripts AS (
    SELECT r.partition_date, r.conversation_id, r.recording_id, r.conversation_start, s.script_id
    FROM staging.recordings AS r
    INNER JOIN staging.sessions AS s USING (partition_date, conversation_id)
    WHERE s.script_id IS NOT NULL AND s.purpose IN ('agent', 'user')
    QUALIFY row_number() OVER (
        PARTITION BY r.partition_date, r.conversation_id, r.recording_id
        ORDER BY s.session_id IS DISTINCT FROM r.session_id, NOT coalesce(list_contains(r.leg_users, s.user_id), false),
            s.session_start, s.session_id
    ) = 1
),

versions AS (
    SELECT s.partition_date, s.conversation_id, s.recording_id,
        arg_max(p.version_id, (p.published_date, p.version_id)) AS script_version,
        arg_max(p.script_name, (p.published_date, p.version_id)) AS script_name
    FROM scripts AS s
    INNER JOIN staging.published_scripts AS p
        ON p.script_id = s.script_id AND p.published_date <= s.conversation_start
    GROUP BY s.partition_date, s.conversation_id, s.recording_id
),

names AS (
    SELECT script_id, arg_min(script_name, (published_date, version_id)) AS script_name
    FROM staging.published_scripts
    GROUP BY script_id
),

flows AS (
    SELECT partition_date, conversation_id,
        arg_min(flow_id, (session_start, session_id)) AS flow_id,
        arg_min(coalesce(flow_version, ''), (session_start, session_id)) AS flow_version,
        arg_min(coalesce(flow_name, ''), (session_start, session_id)) AS flow_name
    FROM staging.sessions
    WHERE flow_id IS NOT NULL
    GROUP BY partition_date, conversation_id
)

SELECT
    r.partition_date,
    r.conversation_id,
    r.recording_id,
    s.script_id,
    v.script_version,
    coalesce(v.script_name, n.script_name) AS script_name,
    f.flow_id,
    nullif(f.flow_version, '') AS flow_version,
    nullif(f.flow_name, '') AS flow_name
FROM staging.recordings AS r
LEFT JOIN scripts AS s USING (partition_date, conversation_id, recording_id)
LEFT JOIN versions AS v USING (partition_date, conversation_id, recording_id)
LEFT JOIN names AS n ON n.script_id = s.script_id
LEFT JOIN flows AS f USING (partition_date, conversation_id)
