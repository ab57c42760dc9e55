-- Export jobs whose interval touches the night, from GET /api/v2/recording/jobs/{id}.
--
-- grain: partition_date, landing_id, job_id
-- column partition_date: UTC day of the conversation's start
-- column landing_id: load that brought the row; the newest receipt of the resource names the current load
-- column source_uri: source of the document: API path, object or capture document
-- column fetched_at: when the document was received (UTC)
-- column document_sha256: SHA-256 of the document's bytes as received
-- column document_uri: landing file and row that hold the document
-- column document_state: ok, or the reason why the document cannot be read: empty, not_utf8, not_json, too_deep, truncated, too_large, wrong_shape, duplicate_key
-- column document_bytes: size of the document in bytes
-- column job_id: export job
-- column job_state: PENDING, READY, PROCESSING, FULFILLED, FAILED, CANCELLED
-- column action: EXPORT, ARCHIVE or DELETE
-- column integration_id: AWS S3 bulk-actions integration of the job
-- column interval_start: start of the interval of conversations (UTC)
-- column interval_end: end of the interval, exclusive (UTC)
-- column include_sensitive: true if the job includes recordings with sensitive data; the platform's default is false
-- column include_screen: true if the job includes screen recordings
-- column include_snippet: true if the job includes snippets
-- column include_policy_based: true if the job includes recordings that a policy keeps
-- column requested_at: when the job was created (UTC)
-- column total_conversations: conversations that the job selected
-- column total_recordings: recordings that the job selected
-- column total_skipped: recordings that the job skipped
-- column total_failed: recordings that the job could not export
-- column total_processed: recordings that the job handled
-- column percent_progress: progress in percent
-- column error_message: error message of the job
SELECT
    landed.* EXCLUDE (k, document) REPLACE (
        CASE
            -- Without its state, its total, its action or its interval, a job says nothing of what it exported.
            WHEN document_state = 'ok'
                AND (
                    document.state IS NULL
                    OR (
                        document.state = 'FULFILLED'
                        AND NOT coalesce(
                            document.totalRecordings >= 0
                            AND given(document.recordingJobsQuery."action") IS NOT NULL
                            AND job.interval_end >= job.interval_start,
                            false
                        )
                    )
                )
                THEN 'wrong_shape'
            ELSE document_state
        END AS document_state
    ),
    coalesce(document.id, k.job_id) AS job_id,
    document.state AS job_state,
    document.recordingJobsQuery."action",
    document.recordingJobsQuery.integrationId AS integration_id,
    job.interval_start,
    job.interval_end,
    document.recordingJobsQuery.includeRecordingsWithSensitiveData AS include_sensitive,
    document.recordingJobsQuery.includeScreenRecordings AS include_screen,
    document.recordingJobsQuery.includeSnippetRecordings AS include_snippet,
    document.recordingJobsQuery.includePolicyBasedRecordings AS include_policy_based,
    utc_moment(document.dateCreated) AS requested_at,
    document.totalConversations AS total_conversations,
    document.totalRecordings AS total_recordings,
    document.totalSkippedRecordings AS total_skipped,
    document.totalFailedRecordings AS total_failed,
    document.totalProcessedRecordings AS total_processed,
    document.percentProgress AS percent_progress,
    document.errorMessage AS error_message
FROM landing_documents(
    $files, $partition_date, $landing_id, $folder,
    key_types := 'STRUCT(job_id VARCHAR)',
    document_types := 'STRUCT(
        id VARCHAR, state VARCHAR, dateCreated VARCHAR, errorMessage VARCHAR,
        totalConversations BIGINT, totalRecordings BIGINT, totalSkippedRecordings BIGINT,
        totalFailedRecordings BIGINT, totalProcessedRecordings BIGINT, percentProgress BIGINT,
        recordingJobsQuery STRUCT(
            "action" VARCHAR, integrationId VARCHAR, agedConversationInterval VARCHAR,
            includeRecordingsWithSensitiveData BOOLEAN, includeScreenRecordings BOOLEAN,
            includeSnippetRecordings BOOLEAN, includePolicyBasedRecordings BOOLEAN, conversationQuery STRUCT("interval" VARCHAR)
        )
    )'
) AS landed,
    LATERAL (
        SELECT string_split(
            coalesce(
                nullif(document.recordingJobsQuery.agedConversationInterval, ''),
                document.recordingJobsQuery.conversationQuery."interval"
            ), '/'
        ) AS moments
    ) AS asked,
    LATERAL (
        SELECT utc_moment(trim(asked.moments[1])) AS interval_start, utc_moment(trim(asked.moments[2])) AS interval_end
    ) AS job
