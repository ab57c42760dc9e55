-- The nights that are not final, newest first, at most `$nights`; every value as text.
SELECT COLUMNS([
        'partition_date', 'state', 'watermark', 'collected_at', 'recordings', 'complete', 'gaps', 'recoverable'
    ])::VARCHAR
FROM custody.nights
WHERE state <> 'final'
ORDER BY custody.nights.partition_date DESC
LIMIT $nights
