"""`custody status`: every expected night.

Belongs here: one summary per night. Does not: which nights are expected (warehouse/night_states.py), the story of a
single recording (explain.py).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import duckdb

from custody_pipeline.fleet.overview import overview
from custody_pipeline.operations.summary import NightSummary, night_summary
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.night_states import NightState, night_states


def nights(settings: Settings) -> list[NightSummary]:
    """Summaries of all nights, newest first, including failed nights and nights that nobody collected."""
    with overview(settings) as con:
        return [_summary(con, night, found) for night, found in reversed(night_states(con, settings).items())]


def _summary(con: duckdb.DuckDBPyConnection | None, night: date, found: NightState) -> NightSummary:
    there = night_summary(con, night) if con is not None and found.state != "missing" else None
    return replace(there or NightSummary(night), state=found.state, detail=found.detail)
