-- One value per recording and key: the resolved custom_data, before it is put into columns. staging.recording_tags says how
-- it is chosen.
--
-- grain: partition_date, conversation_id, recording_id, tag_key
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation
-- column recording_id: recording
-- column tag_key: key, as set
-- column tag_value [pii]: the value that counts, verbatim
-- column source: the source it came from
-- column participant_id: the participant who carries it
-- column purpose: what that participant was; empty for tags without a participant
-- column purpose_rank: position in the order of purposes; 1000 if not listed, 2000 without a participant
-- column observed_at: when it was first seen (UTC)
-- column is_cut: the bulk job may have cut it, and no source has it whole
-- column is_mapped: a column of the mapping names this key
-- column document_uri: the document that shows it
-- column document_sha256: SHA-256 of that document
-- column conflicting_values: different values on participants of the same rank
-- column conflicting_participants: those participants
SELECT
    partition_date,
    conversation_id,
    recording_id,
    tag_key,
    tag_value,
    source,
    participant_id,
    purpose,
    purpose_rank,
    observed_at,
    is_cut,
    is_mapped,
    document_uri,
    document_sha256,
    conflicting_values,
    conflicting_participants
FROM staging.recording_tags
WHERE is_resolved
