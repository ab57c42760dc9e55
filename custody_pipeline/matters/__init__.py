"""Matters: a discovery request as a file, the recordings that it selects, and what was handed over for it.

Belongs here: the matter file, its selection, its standing, its productions with their load files and pages, holds,
receipts. Does not: packages and their checks (operations/packaging.py, evidence/package), collecting nights (night.py,
defs), printing (cli).

    matters/<name>.yaml            the matter file, written by a person
    matters/<name>/volumes/*.json  what each volume holds: control number → recording
    matters/<name>/events.ndjson   what was done for the matter: produced, received, held, released, looked at
"""
