"""HTTP and S3 → landing files, with a receipt for each source.

Belongs here: reading from the API and from S3, keeping bytes as received, receipts. Does not: raw tables (load), or
what a missing document means (sql/staging).
"""
