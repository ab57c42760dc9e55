"""The outside of the process: HTTP, S3, the clock, compressed files, work done many at a time.

Belongs here: the one way to do each. Does not: anything that knows what a recording is.
"""
