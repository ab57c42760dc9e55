"""Every expected night with its state, including nights that failed and nights that nobody collected.

Belongs here: which nights are expected, and the states that no model knows. Does not: the states of a collected night
(sql/custody/nights.sql).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb

from custody_pipeline.io.clock import utc_now
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import table_columns, transaction

DUE_AFTER = timedelta(hours=3)
"""The nightly schedule starts two and a half hours after the end of a night."""

ASKED_AT_ONCE = 30
"""The most missing nights that are collected and alerted at a time, newest first: the oldest may be years ago."""

NOT_PUBLISHED = ("failed", "missing")

_NEVER_PUBLISHED = "no run has published this night"

_MODELLED = "SELECT partition_date, state, coalesce(recoverable, 0) FROM custody.nights WHERE state <> 'missing'"


@dataclass(frozen=True)
class NightState:
    """The state of one night.

    Attributes:
        state: missing (nobody collected the night), failed (its last run ended before the night was published), or the
            state in `custody.nights`.
        detail: the failure; empty for any other state.
        recoverable: recordings with a gap that may still close.
    """

    state: str
    detail: str = ""
    recoverable: int = 0


def night_states(con: duckdb.DuckDBPyConnection | None, settings: Settings) -> dict[date, NightState]:
    """Every night from the first one on, oldest first. A night is due three hours after its end.

    Args:
        con: the warehouse; None before there is one.
        settings: name the first night. Without a first night, only nights between collected nights can be missing.
    """
    known: dict[date, NightState] = {}
    if con is not None:
        failures = _failures(con)
        known = {night: NightState("failed" if why else "open", why or "") for night, why in failures.items()}
        if table_columns(con, "custody.nights"):
            for night, state, recoverable in con.execute(_MODELLED).fetchall():
                # A night whose failure nobody could note, for example because the disk was full, has no outcome.
                why = failures.get(night, _NEVER_PUBLISHED)
                known[night] = NightState("failed" if why else state, why or "", recoverable)
    first = settings.first_night or min(known, default=date.max)
    end = (utc_now() - DUE_AFTER).date() if settings.first_night else max(known, default=date.min)
    missing = {first + timedelta(days=number) for number in range((end - first).days)} - known.keys()
    return dict(sorted([*known.items(), *((night, NightState("missing")) for night in missing)]))


def _failures(con: duckdb.DuckDBPyConnection) -> dict[date, str | None]:
    """Why the last run of a night failed; None for a night that was published or rechecked since."""
    return dict(con.execute(query("nights/failures")).fetchall())


def unpublished(states: Mapping[date, NightState]) -> dict[date, NightState]:
    """The nights that failed, and the newest of those that are missing, oldest first."""
    asked = [night for night, found in states.items() if found.state == "missing"][-ASKED_AT_ONCE:]
    return {night: found for night, found in states.items() if found.state == "failed" or night in asked}


def mark_nights(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Write the states that no model knows to `custody.nights`, so that its readers see them."""
    states = night_states(con, settings)
    failed = [night for night, why in _failures(con).items() if why]
    missing = [night for night, found in states.items() if found.state == "missing"]
    with transaction(con):
        con.execute("DELETE FROM custody.nights WHERE state = 'missing'")
        con.execute(
            "UPDATE custody.nights SET state = 'failed' WHERE list_contains($failed::DATE[], partition_date)",
            {"failed": failed},
        )
        con.execute(
            f"INSERT INTO custody.nights BY NAME {query('nights/without_a_row')}",
            {"failed": failed, "missing": missing},
        )
