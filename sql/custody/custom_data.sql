-- The provenance of every tag: recording × participant × key × source × observation. Values are verbatim; an observation is
-- the first time that a source showed this value, and values that were overwritten later are still here.
--
-- grain: partition_date, conversation_id, recording_id, participant_id, tag_key, source, tag_value
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column participant_id: participant who carries the tag; empty where the source names none
-- column participant_purpose: agent, customer, ivr, acd…; empty where unknown
-- column leg_rank: 0 if the participant's tags belong to this recording, 1 for another agent's leg
-- column tag_key: key, as set
-- column tag_value [pii]: value, verbatim; null where the source says null
-- column source: conversation, customattributes, capture, event, details, manifest or sidecar
-- column observed_at: when this source first showed this value (UTC); for events, when it was set
-- column still_there: the newest collection still shows it
-- column may_be_cut: the bulk job's limit of 1,024 characters may have cut it
-- column is_resolved: this value is the one in chain_of_custody.custom_data
-- column source_uri: where it came from
-- column document_uri: landing file and row that hold the document
-- column document_sha256: SHA-256 of the document as received
SELECT
    r.partition_date,
    r.conversation_id,
    r.recording_id,
    o.participant_id,
    o.purpose AS participant_purpose,
    coalesce(p.leg_rank, 0) AS leg_rank,
    o.tag_key,
    o.tag_value,
    o.source,
    o.observed_at,
    o.is_current AS still_there,
    o.is_cut AS may_be_cut,
    t.tag_key IS NOT NULL AS is_resolved,
    o.source_uri,
    o.document_uri,
    o.document_sha256
FROM staging.tag_observations AS o
INNER JOIN staging.recordings AS r
    ON r.partition_date = o.partition_date AND r.conversation_id = o.conversation_id
    AND (o.recording_id = '' OR o.recording_id = r.recording_id)
LEFT JOIN staging.recording_participants AS p
    ON p.partition_date = r.partition_date AND p.conversation_id = r.conversation_id
    AND p.recording_id = r.recording_id AND p.participant_id = o.participant_id
LEFT JOIN staging.resolved_tags AS t
    ON t.partition_date = r.partition_date AND t.conversation_id = r.conversation_id AND t.recording_id = r.recording_id
    AND t.tag_key = o.tag_key AND t.participant_id = o.participant_id AND t.source = o.source
    AND t.tag_value IS NOT DISTINCT FROM o.tag_value
WHERE r.partition_date >= $window_start AND r.partition_date < $window_end
    AND o.partition_date >= $window_start AND o.partition_date < $window_end
ORDER BY r.partition_date, r.conversation_id, r.recording_id, o.participant_id, o.tag_key, o.source, o.tag_value
