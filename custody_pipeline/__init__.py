"""Call recordings for legal discovery: one row per recording, every gap explained, every night sealed.

The rooms follow the data, and a room imports only from those after it in this list: `cli` and `definitions`,
`simulator`, `defs`, `night`, `operations`, `alerts` · `publish` · `capture` · `flows`, `models`, `load`, `extract`,
`warehouse`, `evidence`, `io`, `settings`. `night.py` is the whole pipeline in one screen.
"""
