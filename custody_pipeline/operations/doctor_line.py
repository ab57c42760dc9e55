"""One line of what `custody doctor` reports.

Belongs here: its form. Does not: what is tried (doctor.py, api_probes.py, bucket_probes.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "not ok", "not configured"]


@dataclass(frozen=True)
class Line:
    """One line of the report; `advice` says what to do when `state` is not ok."""

    check: str
    state: State
    found: str
    advice: str = ""
