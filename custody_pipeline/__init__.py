"""Call recordings for legal discovery: one row per recording, every gap explained, every night sealed.

The tree follows the data: `extract` (outside world → rows), `sql/` (rows → answers), `publish` (answers → files on
S3), `evidence` (files → proofs). `defs` hangs these on Dagster, `cli` on the terminal. `simulator` is a local Genesys
Cloud organisation that only the demo and the tests know about.
"""
