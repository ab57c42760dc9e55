-- The nights that have a row of a recording. More than one is a finding of checks.one_night_each.
--
-- materialized: window
-- grain: partition_date, recording_id
-- column partition_date: UTC day of the conversation's start
-- column recording_id: recording
SELECT DISTINCT
    partition_date,
    recording_id
FROM staging.recording_keys
