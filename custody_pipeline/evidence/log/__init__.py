"""The transparency log: Merkle tree, tiles, checkpoints, signed notes, keys, cosignatures.

Belongs here: C2SP and RFC 6962 as pure functions. Does not: cuts, S3.
"""
