"""Nights that the retention policy leaves out of the analysts' snapshot: `$CUSTODY_HOME/retention/snapshot.json`.

Belongs here: the list. Does not: when a night is left out (forgetting), writing the snapshot (snapshot.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

import orjson

from custody_pipeline.io.whole_file import write_whole
from custody_pipeline.settings import Settings


def nights_left_out(settings: Settings) -> frozenset[date]:
    """Nights for which the snapshot has no rows about recordings."""
    path = _path(settings)
    return frozenset(map(date.fromisoformat, orjson.loads(path.read_bytes()))) if path.exists() else frozenset()


def leave_out(settings: Settings, nights: Iterable[date]) -> None:
    """Leave these nights out as well, from the next snapshot on."""
    everything = sorted({*nights_left_out(settings), *nights})
    write_whole(_path(settings), orjson.dumps([night.isoformat() for night in everything]))


def _path(settings: Settings) -> Path:
    return settings.home / "retention/snapshot.json"
