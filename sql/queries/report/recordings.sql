-- The recordings of the nights from `$first` to `$last`, and what each counts as in the balance of custody.reconciliation:
-- present with content, otherwise explained by a reason for missing media. `$media` has these reasons.
SELECT *,
    CASE
        WHEN custom_data_state <> 'present' AND len(gap_reasons) = 0 THEN 'unexplained'
        WHEN coalesce(object_bytes, 0) > 0 THEN 'present'
        WHEN list_has_any(gap_reasons, $media) THEN 'explained'
        ELSE 'unexplained'
    END AS account
FROM custody.chain_of_custody
WHERE partition_date BETWEEN $first AND $last
