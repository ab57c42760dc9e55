"""The ledger: who did what to a night, with which version. No received document shows this.

Belongs here: the person and the version (`Actor`), and the append-only table `raw.acts`: joined, verified, rechecked,
packaged, held, released, accessed, erased, failed. Does not: an act among other events
(sql/custody/custody_events.sql), or the service identity that the API states (extract/genesys.py).

Acts, publications and fixity checks of a warehouse share one order, `position`. It decides what happened last, and no
clock does. Rows of earlier versions have none, and come before all others in order of their times.

An act is about one recording, or about the whole night (both ids empty). Of all acts, only a package is a reason to
publish a night again (`warehouse.content_hash`): checking a night must not change it.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, datetime
from itertools import islice
from typing import Literal

import duckdb

from custody_pipeline.distribution import git_revision, version
from custody_pipeline.io.clock import utc_now
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import create_table


@dataclass(frozen=True)
class Actor:
    """Who runs the pipeline, and which version.

    Attributes:
        operator: the setting, or the login name.
        tool_version: the installed version of custody-pipeline.
        git_revision: the commit that was built or installed; None when the build did not know it.
    """

    operator: str
    tool_version: str
    git_revision: str | None

    @classmethod
    def of(cls, settings: Settings | None) -> Actor:
        """The actor of a deployment; without settings the login name is the operator."""
        operator = (settings.operator if settings else None) or _login_name()
        return cls(operator, version(), git_revision())


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        return "unknown"


Action = Literal["accessed", "erased", "held", "joined", "verified", "rechecked", "packaged", "released", "exception"]

_ACTS_AT_ONCE = 1000
_COLUMNS = {
    "partition_date": "DATE",
    "conversation_id": "VARCHAR",
    "recording_id": "VARCHAR",
    "occurred_at": "TIMESTAMP",
    "action": "VARCHAR",
    "operator": "VARCHAR",
    "what": "VARCHAR",
    "where_at": "VARCHAR",
    "why": "VARCHAR",
    "how": "VARCHAR",
    "tool_version": "VARCHAR",
    "git_revision": "VARCHAR",
    "sha256_before": "VARCHAR",
    "sha256_after": "VARCHAR",
    "position": "BIGINT",
}
_WITH_POSITION = ("raw.acts", "raw.fixity_checks", "raw.publications")


@dataclass(frozen=True)
class Act:
    """One act; the columns of `custody.custody_events` of the same names.

    Attributes:
        where_at: URI of its object; only the name of a folder on this machine, because acts are published.
        sha256_before: of the object before the act, hex.
        sha256_after: of the object after the act, hex.
        conversation_id: empty for the whole night.
        recording_id: empty for the whole night.
        occurred_at: UTC without a zone.
    """

    night: date
    action: Action
    what: str
    why: str
    how: str
    where_at: str | None = None
    sha256_before: str | None = None
    sha256_after: str | None = None
    conversation_id: str = ""
    recording_id: str = ""
    occurred_at: datetime | None = None


def create_acts(con: duckdb.DuckDBPyConnection) -> None:
    """Create `raw.acts` if it is not there."""
    create_table(con, "raw.acts", _COLUMNS)


def next_position(con: duckdb.DuckDBPyConnection) -> int:
    """The next position among acts, publications and fixity checks. The caller has the warehouse open."""
    newest = " UNION ALL ".join(f"SELECT max(position) AS position FROM {table}" for table in _WITH_POSITION)
    (position,) = con.execute(f"SELECT coalesce(max(position), 0) + 1 FROM ({newest})").fetchone() or (1,)
    return int(position)


def append_acts(con: duckdb.DuckDBPyConnection, actor: Actor, acts: Iterable[Act]) -> None:
    """Append to the ledger, under one position; an act without a time gets the present time."""
    now, position, waiting = utc_now(), next_position(con), iter(acts)
    kinds = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    while part := list(islice(waiting, _ACTS_AT_ONCE)):
        rows = [
            {
                **vars(act),
                **vars(actor),
                "partition_date": act.night,
                "occurred_at": act.occurred_at or now,
                "position": position,
            }
            for act in part
        ]
        # One statement for many rows: single rows take DuckDB 5 ms each.
        con.execute(
            f"INSERT INTO raw.acts BY NAME SELECT unnest($rows::STRUCT({kinds})[], recursive := true)",
            {"rows": [{name: row[name] for name in _COLUMNS} for row in rows]},
        )


def append_joins(con: duckdb.DuckDBPyConnection, actor: Actor, night: date, how: str) -> None:
    """Append an act for each row of `custody.chain_of_custody` that differs from the row that was joined last."""
    con.execute(
        f"INSERT INTO raw.acts BY NAME {query('ledger/rows_joined_anew')}",
        {"night": night, "now": utc_now(), "how": how, "position": next_position(con), **asdict(actor)},
    )
