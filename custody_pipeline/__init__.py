"""Call recordings for legal discovery: one row per recording, every gap explained, every night sealed.

`night.py` is the whole pipeline in one screen. docs/architecture.md has the packages in their order: a package imports
only from those below it, and `make check` refuses any other import.
"""
