"""The outside world → landing files → `raw` tables.

Belongs here: HTTP and S3 reading, bytes kept as received, receipts, dlt resources. Does not: Dagster, joins,
judgements about what a missing thing means (that is SQL's work).
"""
