"""Speed as a ratio to a floor that does the same work with nothing around it, in the same run.

Belongs here: stages, floors, the table. Does not: timed tests.
"""
