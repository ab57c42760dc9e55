"""`custody status`: every expected night.

Belongs here: one summary per night. Does not: which nights are expected (warehouse/night_states.py), the story of a
single recording (explain.py).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date

import duckdb

from custody_pipeline.fleet.overview import overview
from custody_pipeline.operations.summary import NightSummary, night_summary
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import WarehouseError
from custody_pipeline.warehouse.night_states import NOT_PUBLISHED, NightState, night_states


def nights(settings: Settings) -> list[NightSummary]:
    """Summaries of all nights, newest first, including failed nights and nights that nobody collected."""
    with overview(settings) as con:
        return [_summary(con, night, found) for night, found in reversed(night_states(con, settings).items())]


def nights_not_published(settings: Settings) -> set[date]:
    """Nights that nobody collected or whose last run failed, as far as they are known without waiting.

    The analysts' snapshot does not show them: no snapshot is written after such a night.
    """
    # A night that is running holds the warehouse.
    with suppress(WarehouseError, OSError), overview(settings, lock_timeout=0) as con:
        if con is not None:
            return {night for night, now in night_states(con, settings).items() if now.state in NOT_PUBLISHED}
    return set()


def _summary(con: duckdb.DuckDBPyConnection | None, night: date, found: NightState) -> NightSummary:
    there = night_summary(con, night) if con is not None and found.state != "missing" else None
    return replace(there or NightSummary(night), state=found.state, detail=found.detail)
