"""A night in numbers, from its tables, and `custody status`: every expected night.

Belongs here: counting. Does not: printing (cli), which nights are expected (warehouse/night_states.py), the story of a
single recording (explain.py).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

import duckdb

from custody_pipeline.fleet.overview import overview
from custody_pipeline.fleet.warehouse_of import warehouse_of
from custody_pipeline.publish.completeness import completeness_of
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import WarehouseError
from custody_pipeline.warehouse.night_states import NOT_PUBLISHED, NightState, night_states
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import rows_of, table_columns


@dataclass(frozen=True)
class NightSummary:
    """One night's numbers; `recordings` = complete + gaps + excluded.

    Attributes:
        detail: why its last run failed.
        not_whole: source → state of each that keeps the night from being established.
    """

    night: date
    recordings: int = 0
    complete: int = 0
    gaps: int = 0
    excluded: int = 0
    expected: int = 0
    present: int = 0
    explained: int = 0
    unexplained: int = 0
    tags: dict[str, int] = field(default_factory=dict)
    reasons: list[dict[str, Any]] = field(default_factory=list)
    revision: int | None = None
    state: str | None = None
    detail: str = ""
    completeness: str = "not_established"
    not_whole: dict[str, str] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON types."""
        return {**asdict(self), "night": self.night.isoformat()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NightSummary:
        """The reverse of `to_dict`."""
        return cls(**{**values, "night": date.fromisoformat(values["night"])})


@dataclass(frozen=True)
class NightEnding:
    """The exit status of a run: 0; 1 if something is unexplained or a source is not whole; 2 if there is no night.

    A source that the settings leave out is no finding of a run, but the night is not established without it.
    """

    status: int
    problems: list[str]
    summary: NightSummary | None


def night_ending(settings: Settings, night: date) -> NightEnding:
    """The ending of a night whose run succeeded, from the warehouse."""
    warehouse = warehouse_of(settings, night)
    if not warehouse.path.exists():  # a first night may fail before there is one
        return NightEnding(2, [], None)
    with warehouse.open(read_only=True) as con:
        summary = night_summary(con, night)
        coverage = completeness_of(con, night).coverage
    if summary is None:
        return NightEnding(2, [], None)
    problems = [
        f"source {source.source} is {source.state}: {source.detail or 'no detail'}"
        for source in coverage
        if source.state in {"failed", "partial"}
    ]
    if problems:
        problems.append("Mend the cause, or wait for the vendor, then run the night again.")
    return NightEnding(1 if problems or summary.completeness == "incomplete" else 0, problems, summary)


def night_summary(con: duckdb.DuckDBPyConnection, night: date) -> NightSummary | None:
    """The numbers of `night`; None if it has no rows and was never published."""
    if not table_columns(con, "custody.chain_of_custody"):
        return None  # no night was modelled yet

    def rows(sql: str) -> list[tuple[Any, ...]]:
        return con.execute(sql, {"night": night}).fetchall()

    counted = "count(*) FROM custody.chain_of_custody WHERE partition_date = $night GROUP BY 1 ORDER BY 1"
    statuses = dict(rows(f"SELECT custody_status, {counted}"))
    publications = rows(
        "SELECT revision, files FROM raw.publications WHERE partition_date = $night ORDER BY revision DESC LIMIT 1"
    )
    if not statuses and not publications:
        return None
    tags = rows(f"SELECT custom_data_state, {counted}")
    by_reason = (
        f"SELECT reason, severity, count(*) AS recordings, recoverable FROM ({query('report/gaps')}) GROUP BY ALL "
        "ORDER BY recordings DESC, reason, recoverable"
    )
    reasons = rows_of(con, by_reason, {"first": night, "last": night})
    states = rows("SELECT state FROM custody.nights WHERE partition_date = $night")
    stated = completeness_of(con, night)
    balances = "SELECT * FROM custody.reconciliation WHERE partition_date = $night AND source = 'recordings'"
    balance = next(iter(rows_of(con, balances, {"night": night})), {})
    return NightSummary(
        night=night,
        recordings=sum(statuses.values()),
        complete=statuses.get("complete", 0),
        gaps=statuses.get("gap", 0),
        excluded=statuses.get("excluded", 0),
        expected=int(balance.get("expected") or 0),
        present=int(balance.get("present") or 0),
        explained=int(balance.get("explained") or 0),
        unexplained=int(balance.get("unexplained") or 0),
        state=states[0][0] if states else None,
        tags={str(state): number for state, number in tags},
        reasons=reasons,
        revision=publications[0][0] if publications else None,
        completeness=stated.completeness,
        not_whole={
            source.source: source.state
            for source in stated.coverage
            if source.state != "whole" and (source.needed or source.state != "not_asked")
        },
        files=list(publications[0][1]) if publications else [],
    )


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
