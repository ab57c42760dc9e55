-- One value per recording and key: custom_data before the mapping puts it into columns. staging.recording_tags defines
-- how the value is chosen.
--
-- grain: partition_date, conversation_id, recording_id, tag_key
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column tag_key: key, as set
-- column tag_value [pii]: resolved value, verbatim
-- column source: source of the value
-- column purpose: purpose of that participant; empty without a participant
-- column observed_at: when the value was first seen (UTC)
-- column is_cut: true if the analytics job may have cut the value and no source has the whole value
-- column is_mapped: true if a column of the mapping names the key
-- column document_uri: document that shows the value
-- column document_sha256: SHA-256 of that document
-- column conflicting_values: different values for the key (see staging.recording_tags); 1 if all agree
SELECT
    partition_date,
    conversation_id,
    recording_id,
    tag_key,
    tag_value,
    source,
    purpose,
    observed_at,
    is_cut,
    is_mapped,
    document_uri,
    document_sha256,
    conflicting_values
FROM staging.recording_tags
WHERE is_resolved
