"""This process: the permissions of its new files, and its free memory.

Belongs here: asking the system for both. Does not: the content of files, measuring memory (operations/profiling.py).
"""

from __future__ import annotations

import ctypes
import os
import sys


def keep_private() -> None:
    """Give new files and folders the modes 0600 and 0700, regardless of the umask: they hold personal data."""
    os.umask(0o077)


def give_back() -> None:
    """Give freed memory back to the system, between parts of a long command: glibc keeps it.

    Does nothing where the C library has no `malloc_trim`.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
