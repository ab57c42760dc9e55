-- The nights that a model computes, one row each.
CREATE OR REPLACE TEMP MACRO window_nights() AS TABLE
SELECT unnest(range(getvariable('window_start'), getvariable('window_end'), INTERVAL 1 DAY))::DATE AS partition_date
