-- How many recordings from `$first` to `$last` have no known tag at all. Their gaps name no tag.
SELECT count(*) FROM custody.chain_of_custody
WHERE custom_data_state <> 'present'
    AND ($first::DATE IS NULL OR partition_date >= $first)
    AND ($last::DATE IS NULL OR partition_date <= $last)
