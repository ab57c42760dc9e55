"""Pure functions of evidence: canonical records, Merkle trees, checkpoints, signatures, cuts, findings.

Belongs here: everything that another party must be able to recompute; the input is bytes, the output is bytes and
findings. Does not: Dagster, dlt, boto3, the warehouse.
"""
