-- The nights of this home and of others (`nights_of_others`, which the caller gives). If two homes have a night, the row that was
-- collected last counts; one of the future, by `$now`, replaces none of this home.
SELECT *
FROM (
    SELECT *, true AS is_ours
    FROM custody.nights
    UNION ALL BY NAME
    SELECT *, false AS is_ours
    FROM nights_of_others
    WHERE collected_at IS NOT NULL
)
QUALIFY row_number() OVER (
        PARTITION BY partition_date
        ORDER BY collected_at IS NULL, is_ours OR collected_at <= $now DESC, collected_at DESC, is_ours DESC
    ) = 1
