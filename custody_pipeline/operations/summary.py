"""A night in numbers, from its tables.

Belongs here: counting. Does not: printing (cli).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import duckdb

from custody_pipeline.fleet.warehouse_of import warehouse_of
from custody_pipeline.publish.completeness import completeness_of
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_text import table_columns


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
    bound = {"night": night}
    statuses = dict(
        con.execute(
            "SELECT custody_status, count(*) FROM custody.chain_of_custody WHERE partition_date = $night GROUP BY 1",
            bound,
        ).fetchall()
    )
    publication = con.execute(
        """
        SELECT revision, files FROM raw.publications
        WHERE partition_date = $night ORDER BY revision DESC LIMIT 1
        """,
        bound,
    ).fetchone()
    if not statuses and publication is None:
        return None
    tags = con.execute(
        "SELECT custom_data_state, count(*) FROM custody.chain_of_custody WHERE partition_date = $night "
        "GROUP BY 1 ORDER BY 1",
        bound,
    ).fetchall()
    reasons = con.execute(
        """
        SELECT reason, severity, count(DISTINCT (conversation_id, recording_id)) AS recordings, recoverable
        FROM custody.gaps WHERE partition_date = $night
        GROUP BY ALL ORDER BY recordings DESC, reason, recoverable
        """,
        bound,
    ).fetchall()
    state = con.execute("SELECT state FROM custody.nights WHERE partition_date = $night", bound).fetchone()
    stated = completeness_of(con, night)
    balance = con.execute(
        """
        SELECT coalesce(max(expected), 0), coalesce(max(present), 0), coalesce(max(explained), 0),
               coalesce(sum(unexplained), 0)
        FROM custody.reconciliation WHERE partition_date = $night AND source = 'recordings'
        """,
        bound,
    ).fetchone() or (0, 0, 0, 0)
    return NightSummary(
        night=night,
        recordings=sum(statuses.values()),
        complete=statuses.get("complete", 0),
        gaps=statuses.get("gap", 0),
        excluded=statuses.get("excluded", 0),
        expected=int(balance[0]),
        present=int(balance[1]),
        explained=int(balance[2]),
        unexplained=int(balance[3]),
        state=state[0] if state else None,
        tags={str(state): number for state, number in tags},
        reasons=[
            {"reason": reason, "severity": severity, "recordings": number, "recoverable": recoverable}
            for reason, severity, number, recoverable in reasons
        ],
        revision=publication[0] if publication else None,
        completeness=stated.completeness,
        not_whole={
            source.source: source.state
            for source in stated.coverage
            if source.state != "whole" and (source.needed or source.state != "not_asked")
        },
        files=list(publication[1]) if publication else [],
    )
