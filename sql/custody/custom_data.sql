-- Provenance of every tag, one row per recording, participant, key, source and value. Values are verbatim. An
-- observation is the first time that a source showed the value. Overwritten values keep their rows.
--
-- grain: partition_date, conversation_id, recording_id, participant_id, tag_key, source, tag_value
-- column partition_date DATE: UTC day of the conversation's start
-- column conversation_id VARCHAR: conversation
-- column recording_id VARCHAR: recording
-- column participant_id VARCHAR: participant that has the tag; empty if the source names none
-- column participant_purpose VARCHAR: agent, customer, ivr, acd…; empty if unknown
-- column leg_rank INTEGER: 0 if the participant's tags belong to this recording, 1 for another agent's leg
-- column tag_key VARCHAR: key, as set
-- column tag_value VARCHAR [pii]: value, verbatim; null if the source says null
-- column source VARCHAR: conversation, customattributes, capture, event, details, manifest or sidecar
-- column observed_at TIMESTAMP: when the source first showed this value (UTC); for events, when the tag was set
-- column still_there BOOLEAN: true if the newest load shows the value; for captures, if the latest capture does; null for an event
-- column may_be_cut BOOLEAN: true if the analytics job's limit of 1,024 characters may have cut the key or value
-- column is_resolved BOOLEAN: true if chain_of_custody.custom_data has this value
-- column source_uri VARCHAR: source of the document: API path, object or capture document
-- column document_uri VARCHAR: landing file and row that hold the document
-- column document_sha256 VARCHAR: SHA-256 of the document as received
SELECT
    partition_date,
    conversation_id,
    recording_id,
    participant_id,
    purpose AS participant_purpose,
    leg_rank,
    tag_key,
    tag_value,
    source,
    observed_at,
    is_current AS still_there,
    is_cut AS may_be_cut,
    is_resolved,
    source_uri,
    document_uri,
    document_sha256
FROM staging.recording_tags
