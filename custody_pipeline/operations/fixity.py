"""Reading media objects again, to compare them with the digests that were computed at export.

Belongs here: which objects are due, reading and comparing them, recording the result. Does not: what a changed object
means for its night (sql/staging takes its digest from `raw.fixity_checks`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import duckdb

from custody_pipeline.extract.export_objects import Digests, ObjectReader
from custody_pipeline.extract.media import HASHES_IN_FLIGHT
from custody_pipeline.fleet.overview import overview
from custody_pipeline.fleet.warehouse_of import warehouse_of
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.concurrency import in_order
from custody_pipeline.io.progress import report
from custody_pipeline.models.run import refresh_events
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.bookkeeping import FIXITY_COLUMNS
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts, next_position
from custody_pipeline.warehouse.sql_files import query

Result = Literal["unchanged", "changed", "gone", "unreadable"]


@dataclass(frozen=True)
class DueObject:
    """A version of an object, with the digest it should have.

    Attributes:
        last_checked: when all its bytes, or the server's digest of them, were last compared (UTC).
    """

    night: date
    bucket: str
    object_key: str
    version_id: str | None
    object_bytes: int
    sha256: str
    last_checked: datetime

    @property
    def uri(self) -> str:
        """`s3://…`, with the version where there is one."""
        version = f"?versionId={self.version_id}" if self.version_id else ""
        return f"s3://{self.bucket}/{self.object_key}{version}"


@dataclass(frozen=True)
class CheckedObject:
    """The result of reading an object again."""

    due: DueObject
    result: Result
    sha256: str | None
    error: str | None
    checked_at: datetime


@dataclass
class FixityReport:
    """The result of one run of the fixity job.

    Attributes:
        counts: objects by result.
        findings: every object that is not unchanged: URI, result, digests, error.
        waiting: objects that were not due within the budget.
        oldest: when the object that has waited the longest was last checked (UTC); None if none waits.
        nights_waiting: nights of several workers that were not reached; their objects are in no other number.
    """

    counts: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    findings: list[dict[str, str | None]] = field(default_factory=list)
    waiting: int = 0
    oldest: datetime | None = None
    nights_waiting: int = 0

    def add(self, other: FixityReport) -> None:
        """Count another night's checks as well."""
        self.counts += other.counts
        self.bytes += other.bytes
        self.findings += other.findings
        self.waiting += other.waiting
        self.oldest = min(filter(None, (self.oldest, other.oldest)), default=None)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**vars(self), "counts": dict(self.counts)}


def due_objects(con: duckdb.DuckDBPyConnection, budget: int) -> list[DueObject]:
    """Objects, longest unchecked first, until their bytes reach `budget`; the last one may exceed it."""
    rows = con.execute(
        f"SELECT * EXCLUDE (bytes_before) FROM ({query('fixity/objects_by_last_check')}) "
        "WHERE bytes_before < $budget ORDER BY bytes_before",
        {"budget": budget},
    ).fetchall()
    return [DueObject(*row) for row in rows]


def altered_since_recheck(con: duckdb.DuckDBPyConnection) -> dict[date, int]:
    """Nights that did not run again after a recording changed or went missing → the number of such recordings."""
    rows = con.execute(query("fixity/nights_to_run_again")).fetchall()
    return dict(rows)


def check_objects(settings: Settings, objects: Sequence[DueObject]) -> list[CheckedObject]:
    """Read every byte of the objects again, many at a time, and compare."""
    readers = {bucket: ObjectReader(settings, bucket) for bucket in {due.bucket for due in objects}}

    def check(due: DueObject) -> CheckedObject:
        found = readers[due.bucket].digest("fixity_checks", due.object_key, due.version_id, md5=False)
        if isinstance(found, Digests):
            result: Result = "unchanged" if found.sha256 == due.sha256 else "changed"
            return CheckedObject(due, result, found.sha256, None, utc_now())
        return CheckedObject(due, "gone" if found.http_status == 404 else "unreadable", None, found.message, utc_now())

    checked = []
    for number, (_, outcome) in enumerate(in_order(check, objects, workers=HASHES_IN_FLIGHT), 1):
        checked.append(outcome)
        report("fixity", number, len(objects))
    return checked


def record_checks(
    con: duckdb.DuckDBPyConnection, settings: Settings, checked: Sequence[CheckedObject], budget: int
) -> FixityReport:
    """Append the results to `raw.fixity_checks`, and custody events to the ledger.

    Each changed, missing or unreadable object gets an event, and all unchanged objects of a night get one.
    """
    actor = Actor.of(settings)
    found = FixityReport(Counter(outcome.result for outcome in checked))
    rows, position = [], next_position(con)
    for outcome in checked:
        due = outcome.due
        found.bytes += due.object_bytes if outcome.sha256 else 0
        rows.append(
            [due.night, due.bucket, due.object_key, due.version_id, due.object_bytes, due.sha256, outcome.sha256,
             outcome.result, outcome.error, outcome.checked_at, actor.operator, actor.tool_version, actor.git_revision,
             position]
        )  # fmt: skip
        if outcome.result != "unchanged":
            found.findings.append(
                {
                    "uri": due.uri,
                    "night": due.night.isoformat(),
                    "result": outcome.result,
                    "sha256_before": due.sha256,
                    "sha256": outcome.sha256,
                    "error": outcome.error,
                }
            )
    if rows:
        places = ", ".join("?" * len(FIXITY_COLUMNS))
        con.executemany(f"INSERT INTO raw.fixity_checks ({', '.join(FIXITY_COLUMNS)}) VALUES ({places})", rows)
    append_acts(con, actor, _acts(con, checked, budget))
    begun = min((outcome.checked_at for outcome in checked), default=utc_now())
    waiting = con.execute(
        f"SELECT count(*), min(last_checked) FROM ({query('fixity/objects_by_last_check')}) "
        "WHERE last_checked < $begun",
        {"begun": begun},
    ).fetchone()
    found.waiting, found.oldest = waiting or (0, None)
    return found


def _acts(con: duckdb.DuckDBPyConnection, checked: Sequence[CheckedObject], budget: int) -> list[Act]:
    how = f"all bytes read again, at most {budget} a run"
    unchanged = Counter(outcome.due.night for outcome in checked if outcome.result == "unchanged")
    acts = [
        Act(night, "verified", f"{number} media objects: unchanged", why="fixity", how=how)
        for night, number in sorted(unchanged.items())
    ]
    for outcome in checked:
        if outcome.result == "unchanged":
            continue
        due = outcome.due
        ids = con.execute(
            "SELECT any_value(conversation_id), any_value(recording_id) FROM raw.export_objects "
            "WHERE partition_date = ? AND bucket = ? AND object_key = ? AND key_finding IS NULL",
            [due.night, due.bucket, due.object_key],
        ).fetchone()
        conversation, recording = ids or (None, None)
        acts.append(
            Act(
                due.night,
                "verified",
                f"media: {outcome.result}",
                why="fixity",
                how=how,
                where_at=due.uri,
                sha256_before=due.sha256,
                sha256_after=outcome.sha256,
                conversation_id=conversation or "",
                recording_id=recording or "",
            )
        )
    return acts


def run_fixity(settings: Settings, budget: int | None = None) -> FixityReport:
    """Read the due objects again, and record the results and custody events.

    Args:
        settings: where the objects and the warehouse are.
        budget: bytes; default: `CUSTODY_FIXITY_BYTES`.

    Raises:
        SettingsError: no export bucket is configured.
        WarehouseBusyError: the warehouse is in use.
    """
    settings.require("export_url")
    budget = settings.fixity_bytes if budget is None else budget
    if settings.nights_url is None:
        warehouse = Warehouse(settings)
        warehouse.require_file()
        return _checked(settings, warehouse, budget)
    whole = FixityReport()
    nights = _nights_by_check(settings)
    for number, night in enumerate(nights):
        if budget <= whole.bytes:
            whole.nights_waiting = len(nights) - number
            break
        whole.add(_checked(settings, warehouse_of(settings, night), budget - whole.bytes))
    return whole


def _checked(settings: Settings, warehouse: Warehouse, budget: int) -> FixityReport:
    with warehouse.open() as con:
        due = due_objects(con, budget)
    checked = check_objects(settings, due)
    with warehouse.open() as con:
        report = record_checks(con, settings, checked, budget)
        for night in sorted({found.night for found in due}):
            refresh_events(con, night, about_night_alone=True)
        warehouse.check_in(con)
    return report


def _nights_by_check(settings: Settings) -> list[date]:
    """The nights of several workers. The night whose last fixity check is the longest ago comes first."""
    with overview(settings) as con:
        if con is None:
            return []
        rows = con.execute(query("fixity/nights_by_last_check")).fetchall()
    return [night for (night,) in rows]
