"""Pure functions of evidence: canonical records, Merkle trees, checkpoints, signatures, cuts, findings.

Belongs here: what another party must be able to recompute. Does not: Dagster, dlt, boto3, the warehouse; bytes come in,
bytes and findings go out.
"""
