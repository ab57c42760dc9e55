-- Counts of the rows of `custody.chain_of_custody`.
SELECT count(*) FILTER (custody_status = 'complete') AS complete,
    count(*) FILTER (custody_status = 'gap') AS "with gaps",
    count(media_sha256) AS "with a digest",
    round(100.0 * count(*) FILTER (custom_data_state = 'present') / nullif(count(*), 0), 2) AS "tags present %"
FROM custody.chain_of_custody
WHERE partition_date = $night
