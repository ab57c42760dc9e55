"""Checking published sets, cuts, packages and proofs: faults become findings, never exceptions.

Belongs here: every check that another party can make. Does not: where the bytes come from (evidence/reader.py).
"""
