"""What the command line and Dagster both do: verify, package, check fixity, ask witnesses, examine, explain.

Belongs here: one function per operation, which returns data. Does not: printing (cli), assets (defs), the steps of a
night (night.py).
"""
