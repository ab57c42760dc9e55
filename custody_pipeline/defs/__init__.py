"""Dagster's view of the pipeline: thin assets, checks, jobs, schedules, sensors, resources.

Belongs here: partitions, pools, metadata shown on asset pages. Does not: logic that a plain function could hold.
"""
