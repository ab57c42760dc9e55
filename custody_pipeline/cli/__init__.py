"""`custody …`: arguments, printing, exit statuses.

Belongs here: one file per group of commands, and how their results look on a terminal. Does not: the work itself
(operations and below).
"""
