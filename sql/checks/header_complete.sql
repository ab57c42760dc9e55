-- chain_of_custody has every column of the contract and of the night's mapping.
--
-- blocking: true
-- column column_name: the column that is not there
WITH there AS (
    SELECT column_name
    FROM information_schema.columns
    WHERE table_schema = 'custody' AND table_name = 'chain_of_custody'
),

wanted AS (
    SELECT unnest([
        'organization_id', 'partition_date', 'conversation_id', 'recording_id', 'session_id', 'media_type', 'media_subtype',
        'direction', 'ani', 'dnis', 'user_ids', 'queue_ids', 'queue_names', 'conversation_start', 'conversation_end',
        'recording_start', 'recording_end', 'duration_ms', 'export_job_id', 'export_requested_at', 'exported_at', 'file_state',
        'object_uri', 'object_version_id', 'object_bytes', 'object_last_modified', 'sidecar_uri', 'sidecar_sha256',
        'media_sha256', 'media_md5', 'media_hashed_at', 'conversation_sha256', 'recording_metadata_sha256', 'script_id',
        'script_version', 'script_version_source', 'flow_id', 'flow_version', 'custom_data', 'custom_data_state',
        'custom_data_source', 'custom_data_captured_at', 'custody_status', 'gap_reasons', 'revision'
    ]) AS column_name
    UNION
    SELECT column_name
    FROM staging.tag_mapping
    WHERE column_name IS NOT NULL AND partition_date >= $window_start AND partition_date < $window_end
)

SELECT wanted.column_name
FROM wanted
ANTI JOIN there ON there.column_name = wanted.column_name
ORDER BY wanted.column_name
