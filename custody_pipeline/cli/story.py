"""A recording's story on a terminal.

Belongs here: words, colours and widths. Does not: finding the story (operations/explain.py).
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.escaping import escaped, folded

if TYPE_CHECKING:
    from rich.console import Console


_BESIDE = " " * 23  # beside a time


def print_story(console: Console, story: dict[str, Any]) -> None:
    """One recording on one screen."""
    from rich.markup import escape

    row = story["recording"]
    colour = {"complete": "green", "gap": "red"}.get(row["custody_status"], "yellow")
    heading = f"recording {escaped(row['recording_id'])} "
    console.print(f"{escape(heading)}[green]{'─' * (console.width - len(heading))}[/]", soft_wrap=True)
    console.print(
        f"conversation {escape(str(row['conversation_id']))} · night {row['partition_date']}\n"
        f"revision {row['revision']} · [{colour}]{row['custody_status']}[/] · tags {row['custom_data_state']}"
    )
    if story["completeness"] != "established":
        claim = story["completeness"].replace("_", " ")
        _folded(console, f"the night is {claim}: more may be missing than this page says; see custody status", "")
    _folded(console, f"object  {row['object_uri'] or '–'}", "", "    ")
    _folded(console, f"sha256  {row['media_sha256'] or '–'}", "", "    ")

    _print_timeline(console, row, story["timeline"])
    _print_accesses(console, story.get("accesses", []))
    _print_sources(console, story["sources"])
    console.print("\n[bold]Tags[/bold]: what each source said, and when (→ the one that counts)")
    if story["tags"]:
        _print_tags(console, story["tags"])
    else:
        console.print("  no source showed any tag")
    _print_gaps(console, story["gaps"])
    console.print()


def _print_timeline(console: Console, row: dict[str, Any], timeline: list[dict[str, Any]]) -> None:
    console.print("\n[bold]Timeline[/bold] (UTC)")
    bounds = (("conversation", "start"), ("recording", "start"), ("recording", "end"), ("conversation", "end"))
    moments: list[tuple[Any, str]] = [(row[f"{what}_{bound}"], f"{what} {bound}s") for what, bound in bounds]
    for event in timeline:
        if event["action"] != "collected":
            by = f" · {event['operator']}" if event["operator"] else ""
            moments.append((event["occurred_at"], escaped(f"{event['action']}: {event['what']}{by}")))
    for when, what in sorted((one for one in moments if one[0] is not None), key=lambda one: str(one[0])):
        _folded(console, f"{when:%Y-%m-%d %H:%M:%S}  {what}", "  ", _BESIDE)


def _print_accesses(console: Console, accesses: list[dict[str, Any]]) -> None:
    if accesses:
        console.print("\n[bold]Who listened[/bold], by the vendor's audits")
    for access in accesses:
        user = access["user_id"] and f"user {access['user_id']}"  # two persons may have one name
        who = ", ".join(filter(None, (access["user_name"], user))) or f"client {access['client_id']}"
        when = f"{access['occurred_at']:%Y-%m-%d %H:%M:%S}" if access["occurred_at"] else "–"
        where = f" from {', '.join(access['from_ips'])}" if access["from_ips"] else ""
        _folded(console, f"{when:<19}  {access['action']} ({access['outcome']}): {who}{where}", "  ", _BESIDE)


def _print_sources(console: Console, sources: list[dict[str, Any]]) -> None:
    console.print("\n[bold]Sources[/bold]: what each says, and since when")
    for source in sources:
        seen = f"{source['first_seen_at']:%Y-%m-%d %H:%M:%S}" if source["first_seen_at"] else "–"
        again = source["last_changed_at"] not in (None, source["first_seen_at"])
        changed = f"; changed {source['last_changed_at']:%Y-%m-%d %H:%M:%S}" if again else ""
        code = source["tag_source"] or ""
        as_tag = "" if code in source["source"] else f" ({code})"  # its name below, among the tags
        _folded(console, f"{seen:<19}  {source['source']}{as_tag}: {source['says']}{changed}", "  ", _BESIDE)


def _print_gaps(console: Console, gaps: list[dict[str, Any]]) -> None:
    console.print(f"\n[bold]Gaps[/bold]: {len(gaps) or 'none'}")
    for gap in gaps:
        until = f" until {gap['recoverable_until']:%Y-%m-%d %H:%M}" if gap["recoverable_until"] else ""
        if gap["recheck_until"]:
            until += (
                f", {'was ' * (gap['recheck_until'] < utc_now())}rechecked until {gap['recheck_until']:%Y-%m-%d %H:%M}"
            )
        console.print(f"  [red]{gap['reason']}[/red] ({gap['severity']})")
        _folded(console, f"{gap['sentence']} {gap['detail'] or ''}".rstrip(), "    ")
        for proof in gap["evidence"] or []:
            parts = (str(proof.get(name) or "") for name in ("what", "uri", "sha256", "observed_at"))
            _folded(console, f"proof: {' · '.join(filter(None, parts))}", "    ", "      ")
        _folded(console, f"recoverable: {gap['recoverable']}{until} → {gap['next_action']}", "    ", "      ")


def _folded(console: Console, text: str, indent: str, further: str | None = None) -> None:
    console.print(folded(text, console.width, indent, further), markup=False, soft_wrap=True)


def _print_tags(console: Console, tags: list[dict[str, Any]]) -> None:
    """Each value of a tag on a line, with its sources below."""
    from rich.text import Text

    values: dict[tuple[str, str, str | None], list[dict[str, Any]]] = {}
    for tag in tags:
        values.setdefault((tag["tag_key"], tag["participant_id"], tag["tag_value"]), []).append(tag)
    for (key, _, value), observations in values.items():
        line = Text.assemble(
            (f"  {escaped(key)}", "bold"),
            (f" ({observations[0]['participant_purpose']})  ", "dim"),
            # Null, the empty text and the text null must look different.
            "null" if value is None else f'"{value}"' if value in {"", "null"} else escaped(value),
        )
        console.print(line, no_wrap=True, overflow="ellipsis")
        # textwrap does not break at no-break spaces, so that lines break between observations only.
        seen = " · ".join(_observation(tag).replace(" ", "\N{NO-BREAK SPACE}") for tag in observations)
        lines = textwrap.wrap(seen, console.width, initial_indent=" " * 4, subsequent_indent=" " * 4)
        console.print("\n".join(lines).replace("\N{NO-BREAK SPACE}", " "), markup=False, no_wrap=True)


def _observation(tag: dict[str, Any]) -> str:
    mark = "→ " if tag["is_resolved"] else ""
    seen = f" {tag['observed_at']:%m-%d %H:%M:%S}" if tag["observed_at"] else ""
    return f"{mark}{tag['source']}{seen}{', gone' if tag['still_there'] is False else ''}"
