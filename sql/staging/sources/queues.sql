-- Newest known name of each queue.
--
-- grain: queue_id
-- column queue_id: queue
-- column queue_name: name of the queue
SELECT
    d.queue_id,
    arg_max(d.queue_name, (r."sequence", d.landing_id)) AS queue_name
FROM raw.queues AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable AND d.queue_id IS NOT NULL
GROUP BY d.queue_id
