"""A night's cut: canonical records, the manifest `cut.json`, sealing, timestamps, proofs of single records.

Belongs here: what is sealed and how. Does not: checking (evidence/verify).
"""
