"""`custody erase`: all data of a person or conversation, and their removal.

Belongs here: arguments and printing. Does not: finding and removing (forgetting).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from custody_pipeline.cli.shared import (
    INCOMPLETE,
    OK,
    Json,
    answer,
    app,
    numbered,
    say,
    settings_of_environment,
    with_servers_of_demo,
)

if TYPE_CHECKING:
    from custody_pipeline.forgetting.erase import Outcome
    from custody_pipeline.forgetting.finder import Found
    from custody_pipeline.matters.matter import Selection
    from custody_pipeline.warehouse.erasures import Request

_SHOWN = 8


@app.command()
@with_servers_of_demo
def erase(
    conversations: Annotated[
        Path | None, typer.Option(help="File with conversation or recording ids: text, CSV or .xlsx.")
    ] = None,
    numbers: Annotated[
        list[str] | None, typer.Option("--number", help="Number of the caller or the called; can be repeated.")
    ] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="NAME=VALUE; can be repeated, all must hold.")] = None,
    forget: Annotated[
        str | None,
        typer.Option(
            "--forget-key",
            metavar="NIGHT",
            help="Destroy the key of this night: nobody can then read its documents; rows stay.",
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; published with the night. Name no person.")] = "",
    authority: Annotated[str, typer.Option(help="The law or order that asks for it; published with the night.")] = "",
    media: Annotated[bool, typer.Option("--media", help="Also remove audio in the export bucket.")] = False,
    bypass_governance: Annotated[
        bool, typer.Option("--bypass-governance", help="Break GOVERNANCE locks; needs the permission.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Erase. Without it, the command only shows what is there.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Complete begun requests, and try again those that waited for a hold to end."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show all data of conversations; with --yes remove it, with a signed statement that says what was removed.

    Exit status 2 if a hold prevents it: the request then waits for --resume.
    """
    if resume:
        if conversations or numbers or tags or forget or yes or reason or authority or media:
            raise typer.BadParameter("--resume takes nothing but --bypass-governance: it continues earlier requests")
        raise typer.Exit(_resume(bypass_governance, as_json=as_json))
    if forget and (conversations or numbers or tags or media):
        raise typer.BadParameter("--forget-key NIGHT takes no other condition: it concerns the whole night")
    if not (conversations or numbers or tags or forget):
        raise typer.BadParameter(
            "give --conversations FILE, --number N, --tag NAME=VALUE or --forget-key NIGHT; or --resume"
        )
    if yes and not (reason.strip() and authority.strip()):
        raise typer.BadParameter("--yes needs --reason and --authority: they are published with the removal")
    from custody_pipeline.forgetting import erase as erasing
    from custody_pipeline.forgetting.finder import Asked

    settings = settings_of_environment()
    what = _night(forget) if forget else _selection(conversations, numbers or [], tags or [])
    asked = Asked(what, reason.strip(), authority.strip(), media, bypass_governance)
    if not yes:
        found = erasing.look(settings, asked)
        answer(_as_dict(found), _lines_of(found, settings.home.absolute(), settings.publish_url), as_json=as_json)
        raise typer.Exit(INCOMPLETE if found.holds else OK)
    outcome = erasing.erase(settings, asked, say)
    answer(outcome_as_dict(outcome), outcome_lines(outcome), as_json=as_json)


def _night(night: str) -> date:
    try:
        return date.fromisoformat(night)
    except ValueError as error:
        raise typer.BadParameter(f"--forget-key {night!r}: expected a night, for example 2026-11-02") from error


def _selection(conversations: Path | None, numbers: list[str], tags: list[str]) -> Selection:
    from custody_pipeline.matters.id_list import read_id_list
    from custody_pipeline.matters.matter import Selection, TagCondition, digits_of

    conditions = []
    for tag in tags:
        name, equals, value = tag.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"--tag {tag!r}: expected NAME=VALUE, for example Customer-Id=4711")
        conditions.append(TagCondition(name, "=", value))
    for number in numbers:
        if not digits_of(number):
            raise typer.BadParameter(f"--number {number!r}: expected a number, for example +15550100123")
    ids = read_id_list(conversations) if conversations else None
    return Selection(ids=ids, numbers=tuple(numbers), tags=tuple(conditions))


def _resume(bypass_governance: bool, *, as_json: bool) -> int:
    from custody_pipeline.forgetting.erase import resume

    outcomes = resume(settings_of_environment(), say, bypass_governance=bypass_governance)
    lines = [line for outcome in outcomes for line in outcome_lines(outcome)]
    rows = [outcome_as_dict(outcome) for outcome in outcomes]
    answer(rows, lines or ["nothing waits and nothing was begun"], as_json=as_json)
    return INCOMPLETE if any(outcome.request.state == "waiting" for outcome in outcomes) else OK


def _as_dict(found: Found) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "conversations": list(found.request.conversations),
        "recordings": len(found.request.recordings),
        "nights": list(found.request.nights),
        "places": [asdict(place) for place in found.places],
        "held_by": list(found.holds),
        "unmatched": list(found.unmatched),
    }


def outcome_as_dict(outcome: Outcome) -> dict[str, object]:
    """An outcome for `--json`."""
    request = outcome.request
    return {
        "id": request.id,
        "forgot_key_of": request.nights[0] if request.forget_key else None,
        "state": request.state,
        "conversations": len(request.conversations),
        "recordings": len(request.recordings),
        "sealed": request.sealed,
        "removed": request.counts,
        "held_by": list(request.held),
        "notes": outcome.notes,
    }


def _lines_of(found: Found, home: Path, published: str | None) -> list[str]:
    request = found.request
    nights = "" if request.forget_key else f", nights {', '.join(request.nights) or 'none'}"
    lines = [f"{_what(request)}{nights}"]
    kinds: dict[str, list[str]] = {}
    for place in found.places:
        note = f"  ({place.note})" if place.note else ""
        # Below the home, as people know it; in the bucket of the dataset, below its prefix.
        where = place.where.removeprefix(f"{home}/").removeprefix(f"{published}/")
        kinds.setdefault(place.kind, []).append(f"{place.items:>7,}  {where}{note}")
    for kind, items in kinds.items():
        lines += [f"{kind}:", *items[:_SHOWN]]
        if len(items) > _SHOWN:
            lines.append(f"         and {len(items) - _SHOWN} more; --json names all")
    lines += [f"not known: {name}" for name in found.unmatched[:_SHOWN]]
    lines += [f"held: {hold}" for hold in found.holds]
    lines.append(
        "Nothing was removed, and nothing can be while it is held."
        if found.holds
        else "Nothing was removed: --yes does it."
    )
    return lines


def _what(request: Request) -> str:
    if request.forget_key:
        return f"the key of {request.nights[0]}, and with it all that it opens; rows stay"
    conversations, recordings = len(request.conversations), len(request.recordings)
    return f"{numbered(conversations, 'conversation')}, {numbered(recordings, 'recording')}"


def outcome_lines(outcome: Outcome) -> list[str]:
    """An outcome for people."""
    request = outcome.request
    lines = [f"request {request.id}: {_what(request)}"]
    if request.state == "waiting":
        lines += ["  waits:", *(f"    {hold}" for hold in request.held)]
    else:
        lines.append("  forgotten: nobody can read any more" if request.forget_key else "  erased")
        lines += [f"  {number:>7,}  {kind}" for kind, number in request.counts.items()]
        lines += [f"  {night}: revision {number} holds the statement" for night, number in request.sealed.items()]
        lines += [f"  note: {note}" for note in outcome.notes]
        lines.append("  See it: custody verify")
    return lines
