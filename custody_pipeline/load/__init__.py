"""Landing files → `raw.*`: DuckDB reads the documents, dlt appends the Arrow batches.

Belongs here: raw tables, the dlt source and pipeline, receipts. Does not: collecting (extract), or what a row means
(models).
"""
