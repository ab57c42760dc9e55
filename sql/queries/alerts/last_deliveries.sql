-- The last delivery of each alert of a night to a channel. The table is only appended to, so `rowid` is the order of
-- deliveries within a home. Rows of several workers are ordered by time.
SELECT action, alert_key, alert_sha256, reference, partition_date, conversation_id, recording_id, resource, reason,
    severity, sentence, next_action, recoverable, recoverable_until, link
FROM raw.alerts_sent
WHERE partition_date = $night AND channel = $channel AND refused = ''
QUALIFY row_number() OVER (PARTITION BY alert_key ORDER BY sent_at DESC, rowid DESC) = 1
ORDER BY alert_key
