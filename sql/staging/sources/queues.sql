-- Name of each queue as each night's first list of queues has it.
--
-- grain: night, queue_id
-- column night: UTC day that was collected; not partition_date, because a model reads the names of all nights
-- column queue_id: queue
-- column queue_name: name of the queue
-- column sequence: position of that load among all loads
SELECT
    d.partition_date AS night,
    d.queue_id,
    arg_min(d.queue_name, (r."sequence", d.landing_id, d.queue_name)) AS queue_name,
    min(r."sequence") AS "sequence"
FROM raw.queues AS d
INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
WHERE r.is_usable AND d.queue_id IS NOT NULL
GROUP BY d.partition_date, d.queue_id
