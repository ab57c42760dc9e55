"""Every stage of the table, in the order of the night."""

from __future__ import annotations

from bench import load

STAGES = (load.STAGE,)
