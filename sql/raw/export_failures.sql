-- Recordings that a bulk job could not export. The platform gives no reason.
--
-- grain: partition_date, landing_id, job_id, conversation_id, recording_id
-- column partition_date: UTC day of conversation start that this row was collected for
-- column landing_id: the load it came with; current when the newest receipt of its resource names it
-- column source_uri: where it was read: API path, object, or capture document
-- column fetched_at: when it was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold these bytes
-- column document_state: ok, or why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document as received
-- column job_id: id of the bulk job
-- column conversation_id: conversation of the recording
-- column recording_id: recording that was not exported
SELECT
    $partition_date::DATE AS partition_date,
    $landing_id::VARCHAR AS landing_id,
    source_uri,
    fetched_at,
    sha256 AS document_sha256,
    $folder::VARCHAR || '/' || parse_filename(filename) || '#L' || "row" AS document_uri,
    state AS document_state,
    "bytes" AS document_bytes,
    k.job_id AS job_id,
    document.conversation.id AS conversation_id,
    document.recording.id AS recording_id
FROM read_json(
    $files,
    format = 'newline_delimited',
    compression = 'gzip',
    filename = true,
    maximum_object_size = 33554432,
    columns = {
        k: 'STRUCT(job_id VARCHAR)',
        "row": 'BIGINT',
        source_uri: 'VARCHAR',
        fetched_at: 'TIMESTAMP',
        sha256: 'VARCHAR',
        "bytes": 'BIGINT',
        state: 'VARCHAR',
        document: 'STRUCT(conversation STRUCT(id VARCHAR), recording STRUCT(id VARCHAR))'
    }
)
