-- The sidecars of the exported media, times read from whatever form they are written in. Every load that has
-- a receipt; the newest is `is_current`.
--
-- column partition_date: UTC day of the conversation's start
-- column landing_id: the load it came with
-- column is_current: the load is the night's newest
-- column source_uri: where it was received from
-- column fetched_at: when (UTC)
-- column document_sha256: SHA-256 of the bytes as received
-- column document_uri: landing file and row that hold them
-- column document_state: ok, or why the bytes could not be read
-- column bucket: bucket
-- column object_key: key
-- column version_id: version
-- column key_conversation_id: conversation that the key names
-- column key_recording_id: recording that the key names
-- column conversation_id: conversation that the document names
-- column recording_id: recording that the document names
-- column media_type: kind of media
-- column media_subtype: Trunk, Station, Consult, Screen, Snippet
-- column user_ids: agents
-- column start_time: start (UTC); null if it cannot be read
-- column end_time: end (UTC); null if it cannot be read
-- column start_text: start, as written
-- column end_text: end, as written
-- column has_zone: both times say which zone they are in
-- column duration_ms: duration in milliseconds
-- column initial_direction: inbound or outbound
-- column has_tags_field: the document has a custom_data, customData or attributes field
-- column tags [pii]: its content, verbatim
-- column participants [pii]: participants with attributes, where the document is a conversation detail
SELECT
    d.partition_date,
    d.landing_id,
    r.is_current,
    d.source_uri,
    d.fetched_at,
    d.document_sha256,
    d.document_uri,
    d.document_state,
    d.bucket,
    d.object_key,
    d.version_id,
    d.key_conversation_id,
    d.key_recording_id,
    d.conversation_id,
    d.recording_id,
    d.media_type,
    d.media_subtype,
    d.user_ids,
    try_cast(regexp_replace(d.start_time, '([+-]\d\d):?(\d\d)$', '\1:\2') AS TIMESTAMPTZ)::TIMESTAMP AS start_time,
    try_cast(regexp_replace(d.end_time, '([+-]\d\d):?(\d\d)$', '\1:\2') AS TIMESTAMPTZ)::TIMESTAMP AS end_time,
    d.start_time AS start_text,
    d.end_time AS end_text,
    coalesce(regexp_matches(d.start_time, '(Z|[+-]\d\d(:?\d\d)?)$'), true)
        AND coalesce(regexp_matches(d.end_time, '(Z|[+-]\d\d(:?\d\d)?)$'), true) AS has_zone,
    d.duration_ms,
    d.initial_direction,
    d.has_tags_field,
    d.tags,
    d.participants
FROM raw.export_sidecars AS d
INNER JOIN staging.receipts AS r ON r.partition_date = d.partition_date AND r.landing_id = d.landing_id
WHERE r.is_usable
