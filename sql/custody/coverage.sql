-- What each source could tell about each night: whether it was asked, how that ended, and until when its answer is whole.
-- A night is established only if every source that could name a missing recording was asked and answered whole.
--
-- grain: partition_date, source
-- column partition_date DATE: UTC day of the conversation's start
-- column source VARCHAR: what was collected (name of the raw table)
-- column state VARCHAR: whole, partial, failed or not_asked
-- column is_needed BOOLEAN: while this source is not whole, a recording may be missing without a row
-- column sees VARCHAR: what the source shows, and what it cannot show
-- column asked BIGINT: how many things were asked for; null for a list
-- column documents BIGINT: how many documents came
-- column failures BIGINT: how many requests failed
-- column complete_until TIMESTAMP: until when the source is complete, where it says so (UTC)
-- column collected_at TIMESTAMP: when it was last asked (UTC)
-- column detail VARCHAR: why it is not whole; or that a clock was wrong, or what single reads left out
WITH needed (source, sees) AS (
    VALUES
    ('export_objects', 'objects in the export bucket; nothing that was deleted before the night was collected'),
    ('conversation_details', 'recorded audio and screens of the client''s divisions; no chat, message or e-mail recording'),
    ('recording_metadata', 'recordings of the conversations that were asked for; conversations in other divisions are refused'),
    ('export_jobs', 'export jobs of this integration; totals only of jobs of this night alone'),
    ('export_failures', 'recordings that an export job could not export'),
    ('orphan_recordings', 'recordings whose conversation is gone'),
    ('listed_recordings', 'all recordings, by a list without a total; nothing that was deleted, or created after its watermark')
),

newest AS (
    SELECT *
    FROM staging.receipts
    WHERE is_newest
),

unread_documents AS (
    -- Answers that came and cannot be read, a row each. Details that cannot be read may flag a recording that no list has.
    SELECT partition_date, 'recording_metadata' AS source FROM staging.recording_metadata
    WHERE is_current AND document_state <> 'ok'
    UNION ALL
    SELECT partition_date, 'conversation_details' FROM staging.conversation_details
    WHERE is_current AND document_state <> 'ok'
    UNION ALL
    SELECT partition_date, 'export_jobs' FROM staging.export_jobs
    WHERE is_current AND document_state <> 'ok'
    UNION ALL
    SELECT partition_date, 'export_failures' FROM staging.export_failures
    WHERE is_current AND document_state <> 'ok'
    UNION ALL
    SELECT partition_date, 'export_manifests' FROM staging.export_manifests
    WHERE is_current AND document_state <> 'ok'
    UNION ALL
    SELECT partition_date, 'orphan_recordings' FROM staging.orphan_recordings
    WHERE is_current AND document_state <> 'ok'
    UNION ALL
    SELECT partition_date, 'conversation_events' FROM staging.conversation_events
    WHERE is_current AND document_state <> 'ok'
    UNION ALL
    SELECT partition_date, 'listed_recordings' FROM staging.listed_recordings
    WHERE is_current AND (document_state <> 'ok' OR recording_id IS NULL)
    UNION ALL
    SELECT partition_date, 'conversation_attributes' FROM staging.conversation_attributes
    WHERE is_current AND document_state <> 'ok'
    GROUP BY partition_date, document_uri
    UNION ALL
    SELECT d.partition_date, 'recording_audits'
    FROM raw.recording_audits AS d
    INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
    WHERE r.is_current AND (d.document_state <> 'ok' OR d.audit_id IS NULL)
    UNION ALL
    -- Conversations of which nothing that was captured can be read, or of which a capture is damaged or has typed attributes
    -- that cannot be read. An answer that was no conversation is neither, if another capture can be read.
    SELECT partition_date, 'captures' FROM staging.captures
    WHERE is_current
    GROUP BY partition_date, coalesce(conversation_id, document_uri)
    HAVING bool_and(document_state <> 'ok') OR bool_or(document_state <> 'ok' AND conversation_sha256 IS NULL)
        OR bool_or(typed_state <> 'ok')
    UNION ALL
    -- Conversations of which the job has the tags: that others were set later, or cut, is not known, and no gap says so.
    SELECT partition_date, 'conversations' FROM staging.conversation_facts
    WHERE single_read IN ('forbidden', 'failed') AND details_tags = 'present'
),

-- Sources whose every request could have named a recording or a tag. Others have a gap for each that failed.
asked_one_by_one (source) AS (
    VALUES
    ('recording_metadata'), ('export_jobs'), ('export_failures'), ('export_manifests'), ('conversation_attributes')
),

unreadable AS (
    SELECT partition_date, source, count(*) AS documents
    FROM unread_documents
    GROUP BY partition_date, source
),

ahead AS (
    -- An earlier load of the source began later than the newest one: one of the clocks was wrong.
    SELECT newer.partition_date, newer.resource AS source, max(older.started_at) AS began
    FROM newest AS newer
    INNER JOIN staging.receipts AS older
        ON older.partition_date = newer.partition_date AND older.resource = newer.resource
        AND older."sequence" < newer."sequence" AND older.started_at > newer.started_at
    GROUP BY newer.partition_date, newer.resource
),

totals AS (
    SELECT partition_date, 'export_jobs' AS source, (detail ->> 'night_before_unknown')::BIGINT AS recordings
    FROM custody.reconciliation
    WHERE source = 'job_totals'
),

lost AS (
    -- Conversations that the analytics job should have: an earlier load has them, or they were read by themselves and began
    -- within the night. The vendor's clocks may differ. What the sessions of others flag would be in no row either.
    SELECT partition_date, 'conversation_details' AS source, count(DISTINCT conversation_id) AS conversations
    FROM (
        SELECT partition_date, conversation_id FROM staging.conversation_details
        WHERE conversation_id <> ''
        UNION ALL
        SELECT partition_date, conversation_id
        FROM staging.conversation_facts
        WHERE single_read = 'ok' AND details_collected
            AND conversation_start >= partition_date + INTERVAL 1 MINUTE
            AND conversation_start < least(watermark, partition_date + INTERVAL 1 DAY) - INTERVAL 1 MINUTE
    )
    ANTI JOIN (
        SELECT partition_date, conversation_id FROM staging.conversation_details
        WHERE is_current
    ) USING (partition_date, conversation_id)
    GROUP BY partition_date
),

unread AS (
    SELECT partition_date, 'recording_metadata' AS source, count(*) AS conversations
    FROM staging.conversation_facts
    WHERE conversation_id <> '' AND metadata_read = 'not_read'
    GROUP BY partition_date
),

asked AS (
    SELECT
        n.partition_date,
        s.source,
        s.sees IS NOT NULL AS is_needed,
        s.sees,
        r.* EXCLUDE (partition_date),
        CASE WHEN r.resource IN (SELECT source FROM asked_one_by_one) THEN coalesce(r.failures, 0) ELSE 0 END
        + coalesce(u.documents, 0) AS unread,
        coalesce(t.recordings, 0) AS unaccounted,
        w.conversations AS not_read,
        x.conversations AS lost,
        a.began AS began_ahead,
        r.resource IN ('conversation_details', 'listed_recordings')
        AND coalesce(r.data_available_until < n.partition_date + INTERVAL 1 DAY, true) AS is_early
    FROM window_nights() AS n
    CROSS JOIN (
        SELECT source, sees FROM needed
        UNION ALL
        SELECT DISTINCT resource, NULL
        FROM newest
        WHERE resource NOT IN (SELECT source FROM needed)
    ) AS s
    LEFT JOIN newest AS r ON r.partition_date = n.partition_date AND r.resource = s.source
    LEFT JOIN unreadable AS u ON u.partition_date = n.partition_date AND u.source = s.source
    LEFT JOIN totals AS t ON t.partition_date = n.partition_date AND t.source = s.source
    LEFT JOIN unread AS w ON w.partition_date = n.partition_date AND w.source = s.source
    LEFT JOIN lost AS x ON x.partition_date = n.partition_date AND x.source = s.source
    LEFT JOIN ahead AS a ON a.partition_date = n.partition_date AND a.source = s.source
)

SELECT
    partition_date,
    source,
    CASE
        WHEN receipt_state IS NULL OR receipt_state = 'not_configured' THEN 'not_asked'
        -- One of the two interfaces refused the client: what only it knows was never asked.
        WHEN source = 'recording_audits' AND receipt_state = 'complete' AND failures > 0 THEN 'not_asked'
        WHEN receipt_state = 'failed' THEN 'failed'
        WHEN receipt_state = 'partial' OR unread > 0 OR unaccounted > 0 OR lost > 0 OR is_early THEN 'partial'
        ELSE 'whole'
    END AS state,
    is_needed,
    coalesce(sees, 'what the recordings of the night are joined with') AS sees,
    asked,
    documents,
    failures,
    data_available_until AS complete_until,
    finished_at AS collected_at,
    CASE
        -- What is not kept of erased conversations is told of a source that is whole; of another one, why it is not.
        WHEN receipt_state <> 'complete'
            AND NOT regexp_matches(detail, '^[0-9]+ documents? of (an )?erased conversations? (was|were) not kept$')
            THEN detail
        ELSE nullif(concat_ws(
            '; ',
            CASE
                WHEN receipt_state IS NULL THEN 'never collected'
                WHEN unread > 0 OR (receipt_state IN ('partial', 'failed') AND failures > 0)
                    THEN greatest(unread, coalesce(failures, 0)) || ' could not be read'
                WHEN unaccounted > 0
                    THEN 'jobs state ' || unaccounted || ' more; run the night before first'
                WHEN receipt_state = 'partial' THEN 'cut short'
                WHEN is_early AND receipt_state = 'complete' THEN 'the night is not complete there yet'
            END,
            CASE WHEN lost > 0 THEN lost || ' conversations that other answers have are missing' END,
            'an earlier load has a later time, ' || began_ahead || ' UTC: a clock was wrong',
            detail,
            CASE
                WHEN receipt_state = 'complete' AND not_read > 0
                    THEN not_read || ' conversations were not read one by one: '
                        || 'the bucket, the job and the list agree on their recordings'
            END
        ), '')
    END AS detail
FROM asked
ORDER BY partition_date, source
