"""Rows → Parquet, CSV and sealed cuts → S3.

Belongs here: writing files, hashing them, putting them with checksums, switching the current copy. Does not: computing
what a row says.
"""
