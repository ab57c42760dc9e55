"""Input and output: HTTP, S3, KMS, the clock, files, concurrent calls.

Belongs here: one way to do each. Does not: anything that knows what a recording is.
"""
