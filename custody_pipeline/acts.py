"""What was done to a night that no received document shows: joined, verified, rechecked, packaged, failed.

Belongs here: the append-only ledger `raw.acts`. Does not: how it reads beside other events
(sql/custody/custody_events.sql).

An act may be about one recording, or about the whole night (both ids empty). None of them, but for a package, is a
reason to publish a night again (`warehouse.night_content_sha256`): checking a night must not change it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal

from custody_pipeline.actor import Actor
from custody_pipeline.extract.landing import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

Action = Literal["joined", "verified", "rechecked", "packaged", "exception"]

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
}


@dataclass(frozen=True)
class Act:
    """One act; the columns of `custody.custody_events` of the same names.

    Attributes:
        night: UTC day.
        action: what kind.
        what: what it was done to, and with which result.
        why: for what purpose.
        how: by which means.
        where_at: URI of what it was done to.
        sha256_before: hex, of what was there.
        sha256_after: hex, of what is there now.
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
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    con.execute(f"CREATE TABLE IF NOT EXISTS raw.acts ({columns})")


def append_acts(con: duckdb.DuckDBPyConnection, actor: Actor, acts: Iterable[Act]) -> None:
    """Append to the ledger; acts without a time happen now."""
    now = utc_now()
    rows = []
    for act in acts:
        row = {**asdict(act), **asdict(actor), "partition_date": act.night, "occurred_at": act.occurred_at or now}
        rows.append([row[name] for name in _COLUMNS])
    if rows:
        con.executemany(f"INSERT INTO raw.acts VALUES ({', '.join('?' * len(_COLUMNS))})", rows)


def append_joins(con: duckdb.DuckDBPyConnection, actor: Actor, night: date, how: str) -> None:
    """Note which rows of `custody.chain_of_custody` were joined anew: those that are not what was joined last."""
    con.execute(
        """
        WITH last AS (
            SELECT conversation_id, recording_id, arg_max(sha256_after, occurred_at) AS row_sha256
            FROM raw.acts
            WHERE partition_date = $night AND action = 'joined'
            GROUP BY conversation_id, recording_id
        )
        INSERT INTO raw.acts BY NAME
        SELECT c.partition_date, c.conversation_id, c.recording_id, $now::TIMESTAMP AS occurred_at, 'joined' AS action,
            $operator AS operator, 'row of chain_of_custody' AS what, 'custody.chain_of_custody' AS where_at,
            'nightly join' AS why, $how AS how, $tool_version AS tool_version, $git_revision AS git_revision,
            l.row_sha256 AS sha256_before, c.row_sha256 AS sha256_after
        FROM custody.chain_of_custody AS c
        LEFT JOIN last AS l ON l.conversation_id = c.conversation_id AND l.recording_id = c.recording_id
        WHERE c.partition_date = $night AND l.row_sha256 IS DISTINCT FROM c.row_sha256
        """,
        {"night": night, "now": utc_now(), "how": how, **asdict(actor)},
    )
