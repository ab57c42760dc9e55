"""`custody explain` and `custody gaps`, from the analysts' snapshot, or the warehouse for nights that it lacks.

Belongs here: one recording's story and the list of gaps, as data. Does not: printing (cli).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import Any

import duckdb
import orjson

from custody_pipeline.fleet.overview import analyst_database, every_night, record_acts
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.operations.summary import nights_not_published
from custody_pipeline.publish.completeness import completeness_of
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.ledger import Act, Actor
from custody_pipeline.warehouse.snapshot import SnapshotError
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import rows_of, table_columns

# Name for people, resource, its name among the sources of tags, and whether it is shown without a document.
_SOURCES = (
    ("sidecar", "export_sidecars", "sidecar", True),
    ("manifest", "export_manifests", "manifest", False),
    ("recording interface", "recording_metadata", None, True),
    ("bulk analytics job", "conversation_details", "details", True),
    ("single read", "conversations", "conversation", True),
    ("typed attributes", "conversation_attributes", "customattributes", False),
    ("live capture", "captures", "capture", False),
    ("orphan list", "orphan_recordings", None, False),
    ("list of all recordings", "listed_recordings", None, False),
)


# Seconds. A night may be running, and a page must not wait long.
_LOCK_TIMEOUT_SECONDS = 10.0


class NoSuchNightError(Exception):
    """A night is not in the snapshot. The message says what to do."""


class NoSuchTagError(Exception):
    """Nobody looked for a tag. The message names the nearest one."""


def explain(settings: Settings, subject: str) -> dict[str, Any] | None:
    """The whole story of a recording id, or of every recording of a conversation id; None if the id is unknown.

    Returns:
        `{"recordings": [{"recording": chain_of_custody row, "completeness": of its night, "timeline": […],
        "sources": […], "tags": […], "gaps": […], "accesses": […]}]}`; a source that has no document of the recording
        is there with null times.
    """
    with every_night(settings) as con:
        found = rows_of(con, query("story/recordings"), {"subject": subject.strip()})
        stories = [_story(con, recording) for recording in found]
    return {"subject": subject, "recordings": stories} if stories else None


def _story(con: duckdb.DuckDBPyConnection, recording: dict[str, Any]) -> dict[str, Any]:
    key = {name: recording[name] for name in ("partition_date", "conversation_id", "recording_id")}
    gaps = rows_of(con, query("story/gaps_of_recording"), {**key, "reasons": recording["gap_reasons"]})
    for gap in gaps:
        gap["evidence"] = orjson.loads(gap["evidence"]) if isinstance(gap["evidence"], str) else gap["evidence"]
    timeline = rows_of(con, query("story/timeline"), key)
    tags = rows_of(con, query("story/tags"), key)
    accesses = []
    if table_columns(con, "custody.access_events"):  # a snapshot of an earlier version has none
        accesses = rows_of(con, query("story/accesses"), key)
    return {
        "recording": recording,
        "completeness": completeness_of(con, recording["partition_date"]).completeness,
        "accesses": accesses,
        "timeline": timeline,
        "sources": _sources(recording, timeline, tags, {gap["reason"] for gap in gaps}),
        "tags": tags,
        "gaps": gaps,
    }


def record_explained(settings: Settings, story: dict[str, Any]) -> None:
    """Record a custody event for each recording whose story a person read; the next night that runs shows it.

    Raises:
        WarehouseError: the warehouse is in use; nothing was recorded.
    """
    acts = [
        Act(
            found["recording"]["partition_date"],
            "accessed",
            what="story of the recording",
            where_at=settings.analyst_path.name,
            why="reading",
            how="custody explain",
            conversation_id=found["recording"]["conversation_id"],
            recording_id=found["recording"]["recording_id"],
        )
        for found in story["recordings"]
    ]
    if settings.nights_url is not None or settings.warehouse_path.exists():
        record_acts(settings, Actor.of(settings), acts, lock_timeout=_LOCK_TIMEOUT_SECONDS)


def _sources(
    recording: dict[str, Any], timeline: list[dict[str, Any]], tags: list[dict[str, Any]], reasons: set[str]
) -> list[dict[str, Any]]:
    """Each source's documents of the recording: when new content was first and last received, and the content."""
    found = []
    for name, resource, tag_source, always in _SOURCES:
        seen = [event["occurred_at"] for event in timeline if event["what"] == f"{resource} document"]
        if not seen and not always:
            continue
        keys = {tag["tag_key"] for tag in tags if tag["source"] == tag_source}
        says = f"{len(keys)} tag{'s' * (len(keys) != 1)}" if keys else "no tag"
        if resource == "export_sidecars" and "SIDECAR_UNREADABLE" in reasons:
            says = "cannot be read"
        if resource == "recording_metadata":
            exported = recording["exported_at"]
            says = f"{recording['file_state'] or 'state unknown'}, " + (
                f"exported {exported:%Y-%m-%d %H:%M:%S}" if exported else "not exported"
            )
        found.append(
            {
                "source": name,
                "tag_source": tag_source,
                "first_seen_at": min(seen, default=None),
                "last_changed_at": max(seen, default=None),
                "says": says if seen else "no document of it",
            }
        )
    return found


@dataclass(frozen=True)
class GapFilter:
    """Which gaps to list; None is any.

    Attributes:
        reason, severity, recoverable: as in custody.gaps.
        tag: a key among tag_keys, in any case.
        before: only gaps whose deadline is not after this time (UTC). As in the report, the deadline is
            `recoverable_until`, or else `recheck_until`.
    """

    first: date | None = None
    last: date | None = None
    reason: str | None = None
    severity: str | None = None
    recoverable: str | None = None
    tag: str | None = None
    before: datetime | None = None


def gaps(settings: Settings, wanted: GapFilter) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns of `custody.gaps`, and its rows that are wanted, the next deadline first within a reason.

    Raises:
        NoSuchNightError: a single night was asked for that was never collected, so its gaps are unknown.
        NoSuchTagError: no night has the tag, and the mapping does not name it.
        SnapshotError: a tag was asked for, and an earlier version made a night's gaps, without their tags.
    """
    with every_night(settings, wanted.first, wanted.last) as con:
        if wanted.first is not None and wanted.first == wanted.last:
            refuse_uncollected(con, wanted.first)
        if wanted.tag is not None:
            _refuse_unknown(con, settings, wanted.tag)
            _refuse_without_tags(con, wanted)
        answer = con.execute(query("story/gaps"), asdict(wanted))
        names = [column[0] for column in answer.description or []]
        return names, [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def refuse_uncollected(con: duckdb.DuckDBPyConnection, night: date) -> None:
    """Raise `NoSuchNightError` for a night that was never collected."""
    modelled = "SELECT collected_at FROM custody.nights WHERE partition_date = $night AND collected_at IS NOT NULL"
    if con.execute(modelled, {"night": night}).fetchone() is None:
        raise NoSuchNightError(f"the night of {night} was never collected: custody status tells its state")


def _refuse_unknown(con: duckdb.DuckDBPyConnection, settings: Settings, tag: str) -> None:
    """Raise `NoSuchTagError` for a tag that nobody looked for: it has no gaps, and that says nothing."""
    known = {name for column in load_mapping(settings.mapping_path).columns for name in column.names}
    seen = "SELECT DISTINCT tag_key FROM custody.custom_data UNION SELECT unnest(tag_keys) FROM custody.gaps"
    known.update(key for (key,) in con.execute(seen).fetchall() if key is not None)
    if tag.lower() not in {name.lower() for name in known}:
        nearest = get_close_matches(tag, sorted(known), 1)
        hint = f"; the nearest is {nearest[0]}" if nearest else ""
        raise NoSuchTagError(f"no night has a tag {tag!r}, and the mapping does not name it{hint}")


def _refuse_without_tags(con: duckdb.DuckDBPyConnection, wanted: GapFilter) -> None:
    """Raise `SnapshotError` for a night whose gaps have neither proofs nor tags: a filter would find none of them."""
    nights = con.execute(
        "SELECT partition_date FROM custody.gaps WHERE partition_date BETWEEN coalesce($first, partition_date) "
        "AND coalesce($last, partition_date) GROUP BY ALL HAVING count(proofs) = 0 ORDER BY ALL",
        {"first": wanted.first, "last": wanted.last},
    ).fetchall()
    if nights:
        raise SnapshotError(
            f"an earlier version of custody made the gaps of {', '.join(str(night) for (night,) in nights)}, "
            "without the tags that they are about: run these nights again"
        )


def of_unknown_tags(settings: Settings, wanted: GapFilter) -> int:
    """How many recordings have no known tag at all: their gaps name no tag, so that no filter by tag finds them."""
    with every_night(settings, wanted.first, wanted.last) as con:
        days = {"first": wanted.first, "last": wanted.last}
        return sum(number for (number,) in con.execute(query("story/of_unknown_tags"), days).fetchall())


def unsettled(settings: Settings, wanted: GapFilter) -> int:
    """How many of the nights that are asked for failed, are missing or are not established: their gaps may be more.

    Between two days, a night that is not known at all counts as missing.
    """
    known: dict[date, bool] = {}
    with analyst_database(settings) as con:
        if "completeness" in table_columns(con, "custody.nights"):  # not in a snapshot of an earlier version
            settled = "completeness = 'established' AND state NOT IN ('failed', 'missing')"
            known = dict(con.execute(f"SELECT partition_date, {settled} FROM custody.nights").fetchall())
    known |= dict.fromkeys(nights_not_published(settings), False)
    first, last = wanted.first, wanted.last
    days = (last - first).days + 1 if first and last else 0
    known = {first + timedelta(days=number): False for number in range(days) if first} | known
    return sum((first or night) <= night <= (last or night) for night, is_settled in known.items() if not is_settled)
