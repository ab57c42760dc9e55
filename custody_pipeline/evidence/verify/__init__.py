"""Checking what was published: findings, never exceptions.

Belongs here: every check another party can make. Does not: where the bytes come from (evidence/reader.py).
"""
