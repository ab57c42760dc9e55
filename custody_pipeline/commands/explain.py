"""`custody explain` and `custody gaps`: why something is missing, what proves it, what can be done.

Belongs here: reading the analysts' tables for one recording, conversation or night. Does not: deciding any of it.
"""

from __future__ import annotations

import json
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb

from custody_pipeline.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from rich.console import Console

    from custody_pipeline.settings import Settings

# Name for people, resource, its name among the sources of tags, and whether to say so when it has nothing.
_SOURCES = (
    ("companion document", "export_sidecars", "sidecar", True),
    ("manifest", "export_manifests", "manifest", False),
    ("recording interface", "recording_metadata", None, True),
    ("bulk analytics job", "conversation_details", "details", True),
    ("single read", "conversations", "conversation", True),
    ("typed attributes", "conversation_attributes", "customattributes", False),
    ("live capture", "captures", "capture", False),
    ("orphan list", "orphan_recordings", None, False),
)


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
        gap["evidence"] = json.loads(gap["evidence"]) if isinstance(gap["evidence"], str) else gap["evidence"]
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


def print_story(console: Console, story: dict[str, Any]) -> None:
    """One recording on one screen."""
    from rich.markup import escape

    row = story["recording"]
    colour = {"complete": "green", "gap": "red"}.get(row["custody_status"], "yellow")
    console.rule(f"recording {escape(row['recording_id'])}", align="left")
    console.print(
        f"conversation {escape(str(row['conversation_id']))} · night {row['partition_date']}"
        f" · revision {row['revision']} · [{colour}]{row['custody_status']}[/] · tags {row['custom_data_state']}"
    )
    console.print(
        f"object  {row['object_uri'] or '–'}\nsha256  {row['media_sha256'] or '–'}", markup=False, soft_wrap=True
    )

    console.print("\n[bold]Timeline[/bold] (UTC)")
    moments: list[tuple[Any, str]] = [
        (row["conversation_start"], "conversation starts"),
        (row["recording_start"], "recording starts"),
        (row["recording_end"], "recording ends"),
        (row["conversation_end"], "conversation ends"),
    ]
    moments += [
        (event["occurred_at"], _printable(f"{event['action']}: {event['what']}{_by(event['operator'])}"))
        for event in story["timeline"]
        if event["action"] != "collected"
    ]
    moments = sorted((moment for moment in moments if moment[0] is not None), key=lambda moment: str(moment[0]))
    for when, what in moments:
        console.print(f"  {when:%Y-%m-%d %H:%M:%S}  {what}", markup=False, soft_wrap=True)

    console.print("\n[bold]Sources[/bold]: what each says of it, and since when")
    for source in story["sources"]:
        seen = f"{source['first_seen_at']:%Y-%m-%d %H:%M:%S}" if source["first_seen_at"] else "–"
        again = source["last_changed_at"] not in (None, source["first_seen_at"])
        changed = f"; changed {source['last_changed_at']:%Y-%m-%d %H:%M:%S}" if again else ""
        console.print(f"  {seen:<19}  {source['source']}: {source['says']}{changed}", markup=False, soft_wrap=True)

    console.print("\n[bold]Tags[/bold]: what each source said, and when (→ the one that counts)")
    if story["tags"]:
        _print_tags(console, story["tags"])
    else:
        console.print("  no source showed any tag")

    console.print(f"\n[bold]Gaps[/bold]: {len(story['gaps']) or 'none'}")
    for gap in story["gaps"]:
        until = f" until {gap['recoverable_until']:%Y-%m-%d %H:%M}" if gap["recoverable_until"] else ""
        if gap["recheck_until"]:
            until += f", rechecked until {gap['recheck_until']:%Y-%m-%d %H:%M}"
        console.print(f"  [red]{gap['reason']}[/red] ({gap['severity']})  ", end="")
        console.print(_printable(f"{gap['sentence']} {gap['detail'] or ''}".rstrip()), markup=False, soft_wrap=True)
        for proof in gap["evidence"] or []:
            parts = (str(proof.get(name) or "") for name in ("what", "uri", "sha256", "observed_at"))
            proof_line = " · ".join(part for part in parts if part)
            console.print(f"    proof: {_printable(proof_line)}", markup=False, soft_wrap=True)
        console.print(
            f"    recoverable: {gap['recoverable']}{until} → {gap['next_action']}", markup=False, soft_wrap=True
        )
    console.print()


def _print_tags(console: Console, tags: list[dict[str, Any]]) -> None:
    """Each value of a tag on a line, and below it the sources that said so."""
    from rich.text import Text

    said: dict[tuple[str, str, str | None], list[dict[str, Any]]] = {}
    for tag in tags:
        said.setdefault((tag["tag_key"], tag["participant_id"], tag["tag_value"]), []).append(tag)
    for (key, _, value), observations in said.items():
        line = Text.assemble(
            (f"  {_printable(key)}", "bold"),
            (f" ({observations[0]['participant_purpose']})  ", "dim"),
            # What is nothing, and what only looks like it.
            "null" if value is None else f'"{value}"' if value in {"", "null"} else _printable(value),
        )
        console.print(line, no_wrap=True, overflow="ellipsis")
        # Breaks between observations, not within: a no-break space is none to textwrap.
        seen = " · ".join(_observation(tag).replace(" ", "\N{NO-BREAK SPACE}") for tag in observations)
        lines = textwrap.wrap(seen, console.width, initial_indent=" " * 4, subsequent_indent=" " * 4)
        console.print("\n".join(lines).replace("\N{NO-BREAK SPACE}", " "), markup=False, no_wrap=True)


def _observation(tag: dict[str, Any]) -> str:
    mark = "→ " if tag["is_resolved"] else ""
    seen = f" {tag['observed_at']:%m-%d %H:%M:%S}" if tag["observed_at"] else ""
    return f"{mark}{tag['source']}{seen}{', gone' if tag['still_there'] is False else ''}"


def _printable(text: str) -> str:
    """Text from outside on one line, with nothing in it that a terminal obeys."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _by(operator: str | None) -> str:
    return f" · {operator}" if operator else ""


def gaps(settings: Settings, night: date | None, reason: str | None) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns of `custody.gaps`, and its rows of one night or reason, if given, in order."""
    with analyst_database(settings) as con:
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
