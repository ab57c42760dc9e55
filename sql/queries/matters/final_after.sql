-- Until when each open or provisional night may grow: a run after that makes it final.
SELECT n.partition_date,
    greatest(
        n.partition_date + INTERVAL 1 DAY + to_hours($lag_hours::BIGINT),
        (
            SELECT max(g.recheck_until)
            FROM custody.gaps AS g
            WHERE g.partition_date = n.partition_date
        ),
        (
            SELECT max(c.partition_date + to_days($recheck_days::INTEGER))
            FROM custody.coverage AS c
            WHERE c.partition_date = n.partition_date AND c.state IN ('failed', 'partial')
        ),
        (
            SELECT max(r.partition_date + to_days($recheck_days::INTEGER))
            FROM custody.chain_of_custody AS r
            WHERE r.partition_date = n.partition_date AND r.conversation_end IS NULL AND r.conversation_sha256 IS NOT NULL
        )
    ) AS final_after
FROM custody.nights AS n
WHERE n.state IN ('open', 'provisional')
