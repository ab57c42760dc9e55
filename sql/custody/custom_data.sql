-- The provenance of every tag: recording × participant × key × source × observation. Values are verbatim; an observation is
-- the first time that a source showed this value, and values that were overwritten later are still here.
--
-- grain: partition_date, conversation_id, recording_id, participant_id, tag_key, source, tag_value
-- column partition_date DATE: UTC day of the conversation's start
-- column conversation_id VARCHAR: conversation
-- column recording_id VARCHAR: recording
-- column participant_id VARCHAR: participant who carries the tag; empty where the source names none
-- column participant_purpose VARCHAR: agent, customer, ivr, acd…; empty where unknown
-- column leg_rank INTEGER: 0 if the participant's tags belong to this recording, 1 for another agent's leg
-- column tag_key VARCHAR: key, as set
-- column tag_value VARCHAR [pii]: value, verbatim; null where the source says null
-- column source VARCHAR: conversation, customattributes, capture, event, details, manifest or sidecar
-- column observed_at TIMESTAMP: when this source first showed this value (UTC); for events, when it was set
-- column still_there BOOLEAN: the newest collection still shows it, the last capture for captures; null for an event
-- column may_be_cut BOOLEAN: the bulk job's limit of 1,024 characters may have cut it
-- column is_resolved BOOLEAN: this value is the one in chain_of_custody.custom_data
-- column source_uri VARCHAR: where it came from
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
