"""`custody …`: arguments, printing, exit statuses.

Belongs here: one file a group of commands, and how their results look on a terminal. Does not: work (operations and
below).
"""
