"""Memory of this process that is free and not yet the system's.

Belongs here: giving it back. Does not: measuring it (operations/profiling.py).
"""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Give freed memory back to the system, between parts of a long command: glibc keeps it.

    Does nothing where the C library has no `malloc_trim`.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
