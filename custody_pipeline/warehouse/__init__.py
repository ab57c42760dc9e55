"""The DuckDB file, the SQL files that define it, and the pipeline's records about itself.

Belongs here: the connection, the ledger, bookkeeping, the content hash, the analysts' snapshot. Does not: running the
models (models) or filling `raw` (load).
"""
