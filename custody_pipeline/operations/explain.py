"""`custody explain` and `custody gaps`: read from the analysts' snapshot.

Belongs here: one recording's story and the list of gaps, as data. Does not: printing (cli).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
import orjson

from custody_pipeline.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from custody_pipeline.settings import Settings


# Name for people, resource, its name among the sources of tags, and whether to say so when it has nothing.
_SOURCES = (
    ("sidecar", "export_sidecars", "sidecar", True),
    ("manifest", "export_manifests", "manifest", False),
    ("recording interface", "recording_metadata", None, True),
    ("bulk analytics job", "conversation_details", "details", True),
    ("single read", "conversations", "conversation", True),
    ("typed attributes", "conversation_attributes", "customattributes", False),
    ("live capture", "captures", "capture", False),
    ("orphan list", "orphan_recordings", None, False),
)


class NoSuchNightError(Exception):
    """A night is not in the snapshot. The message says what to do."""


@contextmanager
def analyst_database(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """The read-only snapshot; readable while a night is being written.

    Raises:
        SettingsError: there is no snapshot yet.
    """
    if not settings.analyst_path.exists():
        raise SettingsError(f"{settings.analyst_path} is not there yet: run a night first, or set CUSTODY_HOME")
    with duckdb.connect(str(settings.analyst_path), read_only=True) as con:
        yield con


def _rows(con: duckdb.DuckDBPyConnection, query: str, bound: dict[str, Any]) -> list[dict[str, Any]]:
    answer = con.execute(query, bound)
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def explain(settings: Settings, subject: str) -> dict[str, Any] | None:
    """The whole story of a recording id, or of every recording of a conversation id; None when neither is known.

    Returns:
        `{"recordings": [{"recording": chain_of_custody row, "timeline": […], "sources": […], "tags": […],
        "gaps": […]}]}`; a source that has no document of the recording is there with null times.
    """
    with analyst_database(settings) as con:
        found = _rows(
            con,
            """
            SELECT * FROM custody.chain_of_custody
            WHERE recording_id = $subject OR conversation_id = $subject
            ORDER BY partition_date, recording_start NULLS LAST, recording_id
            """,
            {"subject": subject},
        )
        stories = [_story(con, recording) for recording in found]
    return {"subject": subject, "recordings": stories} if stories else None


def _story(con: duckdb.DuckDBPyConnection, recording: dict[str, Any]) -> dict[str, Any]:
    key = {name: recording[name] for name in ("partition_date", "conversation_id", "recording_id")}
    of_recording = """
        WHERE partition_date = $partition_date AND conversation_id = $conversation_id AND recording_id = $recording_id
    """
    gaps = _rows(con, f"SELECT * FROM custody.gaps {of_recording} ORDER BY severity, reason", key)
    for gap in gaps:
        gap["evidence"] = orjson.loads(gap["evidence"]) if isinstance(gap["evidence"], str) else gap["evidence"]
    timeline = _rows(
        con,
        """
        SELECT * FROM custody.custody_events
        WHERE partition_date = $partition_date
            AND (conversation_id = $conversation_id AND recording_id = $recording_id
                OR conversation_id = '' AND action <> 'published')
        ORDER BY occurred_at, action
        """,
        key,
    )
    tags = _rows(con, f"SELECT * FROM custody.custom_data {of_recording} ORDER BY tag_key, observed_at, source", key)
    return {
        "recording": recording,
        "timeline": timeline,
        "sources": _sources(recording, timeline, tags, {gap["reason"] for gap in gaps}),
        "tags": tags,
        "gaps": gaps,
    }


def _sources(
    recording: dict[str, Any], timeline: list[dict[str, Any]], tags: list[dict[str, Any]], reasons: set[str]
) -> list[dict[str, Any]]:
    """What each source has of the recording: when its document was first and last seen new, and what it says."""
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
                "first_seen_at": min(seen, default=None),
                "last_changed_at": max(seen, default=None),
                "says": says if seen else "no document of it",
            }
        )
    return found


def gaps(settings: Settings, night: date | None, reason: str | None) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns of `custody.gaps`, and its rows of one night or reason, if given, in order.

    Raises:
        NoSuchNightError: `night` was never collected and modelled, so nobody knows its gaps.
    """
    with analyst_database(settings) as con:
        modelled = "SELECT collected_at FROM custody.nights WHERE partition_date = $night AND collected_at IS NOT NULL"
        if night is not None and con.execute(modelled, {"night": night}).fetchone() is None:
            raise NoSuchNightError(f"the night of {night} was never collected: custody status tells its state")
        answer = con.execute(
            """
            SELECT * FROM custody.gaps
            WHERE ($night::DATE IS NULL OR partition_date = $night) AND ($reason::VARCHAR IS NULL OR reason = $reason)
            ORDER BY partition_date, reason, conversation_id, recording_id
            """,
            {"night": night, "reason": reason},
        )
        names = [column[0] for column in answer.description or []]
        return names, [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
