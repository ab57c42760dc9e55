"""`custody matter …`: from the discovery request to the production.

Belongs here: arguments and exit statuses. Does not: matters (matters), printing (matter_page.py).
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from custody_pipeline.cli.shared import (
    A_TIME,
    FINDINGS,
    INCOMPLETE,
    OK,
    Json,
    acting,
    answer,
    answer_whole,
    app,
    not_blank,
    numbered,
    print_json,
    progress_bars,
    say,
    settings_of_environment,
    stop,
    with_servers_of_demo,
)

if TYPE_CHECKING:
    from custody_pipeline.matters.matter import Matter
    from custody_pipeline.matters.register import Register
    from custody_pipeline.matters.standing import Standing
    from custody_pipeline.settings import Settings

matter_commands = typer.Typer(no_args_is_help=True, help="A discovery request: what it selects, and what is produced.")
app.add_typer(matter_commands, name="matter")

_OF_A_REASON = 3

Name = Annotated[str, typer.Argument(help="The matter's name: small letters, digits, - and _.")]


@matter_commands.command("new")
def matter_new(
    name: Name,
    title: Annotated[str, typer.Option(help="For example: Smith v. Acme.")] = "",
    number: Annotated[str, typer.Option(help="Number of the case or the request.")] = "",
    ids: Annotated[Path | None, typer.Option(help="A list of conversation or recording ids.")] = None,
    column: Annotated[str | None, typer.Option(help="The list's column; default: found by its name.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="First day of the conversations (YYYY-MM-DD).")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day of the conversations.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="For example 'Matter-Number = 4711'; can be repeated.")] = None,
    agent: Annotated[list[str] | None, typer.Option(help="User id, name or e-mail address; can be repeated.")] = None,
    queue: Annotated[list[str] | None, typer.Option(help="Id or name; can be repeated.")] = None,
    phone: Annotated[list[str] | None, typer.Option(help="Caller's or called number; can be repeated.")] = None,
    media: Annotated[list[str] | None, typer.Option(help="call, screen, chat …; can be repeated.")] = None,
    where: Annotated[str | None, typer.Option(help="A SQL condition over custody.chain_of_custody.")] = None,
    custodian: Annotated[str, typer.Option(help="Whose recordings these are.")] = "",
    requesting_party: Annotated[str, typer.Option(help="Who asks.")] = "",
    producing_party: Annotated[str, typer.Option(help="Who produces.")] = "",
    as_json: Json = False,
) -> None:
    """Write a matter file for you to edit; its comments show every condition."""
    from custody_pipeline.matters.id_list import read_id_list
    from custody_pipeline.matters.register import new_matter, of_same_prefix

    listed = None
    if ids:
        read_id_list(ids, column)  # a refusal names this file, not the copy
        listed = {"file": f"{name}/{ids.name}", **({"column": column} if column else {})}
    given: dict[str, Any] = {"ids": listed, "from": first, "to": last, "tags": tag, "agents": agent, "queues": queue}
    given |= {"numbers": phone, "media": media, "where": where}
    select = {key: value for key, value in given.items() if value}
    parties = {"requesting_party": requesting_party, "producing_party": producing_party}
    settings = settings_of_environment()
    path = new_matter(settings, name, title, number, select, ids, custodian=custodian, **parties)
    answer_whole({"file": str(path)}, f"{path}\n", as_json=as_json)
    for other in of_same_prefix(settings, name):
        say(f"control numbers of {other} begin with the same prefix: change it if one party gets both")
    say(f"edit it, then: custody matter show {name}")


@matter_commands.command("list")
def matter_list(as_json: Json = False) -> None:
    """List the matters with their productions. A matter whose file is refused is named."""
    from custody_pipeline.io.yaml_file import RefusedFileError
    from custody_pipeline.matters.register import acted_for, matter_names, open_matter, register_of
    from custody_pipeline.settings import SettingsError

    settings = settings_of_environment()
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    refused: list[str] = []
    for name in sorted({*matter_names(settings), *acted_for(settings)}):
        try:
            matter = open_matter(settings, name)
        except (RefusedFileError, SettingsError) as error:
            refused.append(f"{name}: {error}")
            continue
        register = register_of(settings, name)
        volumes = [volume for volume in register.volumes() if not register.is_lost(volume)]
        done = [volume for volume in volumes if volume.is_finished]
        produced = len({item.key for volume in done for item in volume.recordings})
        begun = len(volumes) - len(done)
        numbers = {"volumes": len(done), "recordings": produced, "begun": begun}
        rows.append({"name": name, "title": matter.title, "number": matter.number, **numbers})
        unfinished = f", {begun} begun and not finished" if begun else ""
        made = f"{numbered(len(done), 'volume')}, {numbered(produced, 'recording')}"
        lines.append(f"{name}  {matter.title}  {made}{unfinished}")
    if not rows and not refused:
        lines.append("No matter yet. Try: custody matter new smith")
    answer(rows, lines, as_json=as_json)
    for line in refused:
        say(line)
    raise typer.Exit(INCOMPLETE if refused else OK)


@matter_commands.command("show")
def matter_show(name: Name, as_json: Json = False) -> None:
    """Show what the matter finds, what is missing and why. Exit status 0 if nothing more can be recovered."""
    from custody_pipeline.matters.standing import revisions
    from custody_pipeline.operations.endings import ending_of
    from custody_pipeline.warehouse.ledger import Actor

    settings, matter, register, found = _standing(name)
    _show(matter, found, as_json=as_json)
    try:
        register.note(Actor.of(settings), "looked", revisions=revisions(found.nights))
    except OSError as error:  # read-only or a full disk: the matter is told
        say(f"this look is not noted: {ending_of(error)[0]}")
    if not found.found.recordings:
        raise typer.Exit(INCOMPLETE)
    raise typer.Exit(OK if found.saturated else FINDINGS)


@matter_commands.command("produce")
@with_servers_of_demo
def matter_produce(
    name: Name,
    to: Annotated[Path | None, typer.Option(help="Folder that gets a folder for each volume.")] = None,
    operator: Annotated[str | None, typer.Option(help="Who produces; default: CUSTODY_OPERATOR.")] = None,
    target: Annotated[str | None, typer.Option(help="s3://… or a folder; default: the published place.")] = None,
    as_json: Json = False,
) -> None:
    """Write the next volumes, or finish those that were begun: sealed recordings that no volume has as they are now."""
    from dataclasses import asdict

    from custody_pipeline.evidence.cut.proof import RecordNotFoundError
    from custody_pipeline.matters.volume_writer import produce
    from custody_pipeline.operations.verification import default_target

    settings, matter, register, found = _standing(name)
    actor = acting(settings, operator, matter)
    place = to or register.folder / "productions"
    try:
        with progress_bars():
            volumes = produce(settings, target or default_target(settings), matter, register, found, place, actor)
    except RecordNotFoundError as error:
        stop(f"{error}: it is not sealed; custody status names the sealed nights", INCOMPLETE)
    lines = []
    for volume in volumes:
        lines.append(f"{volume.folder}: {numbered(volume.recordings, 'recording')}")
        lines.append(f"sha256 of production-sha256.txt: {volume.sha256}")
        lines.append(f"read {volume.folder / 'report.html'}")
    answer([asdict(volume) for volume in volumes], lines, as_json=as_json)
    for line in sorted({line for volume in volumes for line in volume.left_out}):
        say(line)
    if to and any(volume.folder.parent != to.absolute() for volume in volumes):
        say("these were begun in that folder: --to is for new volumes")
    if unmatched := found.found.unmatched:
        say(f"exceptions.csv has {numbered(len(unmatched), 'id')} in no collected night")
    of_matter = found.found
    if missed := (
        *of_matter.excluded_unmatched, *of_matter.strangers, *of_matter.unseen_queues, *found.unseen_masks
    ):  # fmt: skip
        what = "the excluded ids, agents, queues, divisions and masked tags"
        say(f"not found: {len(missed)} of {what}; custody matter show {name} names them")
    if found.not_known:
        say(f"{numbered(found.not_known, 'more recording')} may belong to it: custody matter show {name}")
    lost = sum(volume.lost for volume in volumes)
    if lost:
        say(f"{numbered(lost, 'recording')} could not be read as sealed: exceptions.csv has the reasons")
    raise typer.Exit(FINDINGS if lost else OK)


@matter_commands.command("report")
def matter_report(
    name: Name,
    to: Annotated[
        Path | None, typer.Option(help="The file, .html or .pdf; default: report.html in its folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one page about the matter now: found, missing, produced, handed over."""
    from custody_pipeline.matters.page_formats import DocumentError, pdf_of
    from custody_pipeline.matters.pages import matter_html
    from custody_pipeline.warehouse.ledger import Actor

    if to and to.suffix.lower() not in (".html", ".pdf"):
        raise typer.BadParameter(f"{to.name}: a report is .html or .pdf")
    settings, matter, register, found = _standing(name)
    path = to or register.folder / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    html = matter_html(matter, found, register, Actor.of(settings))
    try:
        path.write_bytes(pdf_of(html) if path.suffix.lower() == ".pdf" else html.encode())
    except DocumentError as error:
        stop(f"no {path.name}: {error}", INCOMPLETE)
    answer_whole({"file": str(path)}, f"{path}\n", as_json=as_json)


@matter_commands.command("receipt")
def matter_receipt(
    name: Name,
    volume: Annotated[str, typer.Option(help="Which volume, for example VOL001.")],
    receiver: Annotated[str, typer.Option("--to", callback=not_blank, help="To whom it was handed: name and role.")],
    how: Annotated[str, typer.Option(callback=not_blank, help="How: courier, upload, disk in person.")],
    when: Annotated[datetime | None, typer.Option(**A_TIME, help="UTC; default: now.")] = None,
    confirmation: Annotated[
        Path | None,
        typer.Option(help="Their signed confirmation, or the output of `custody verify --json` on their side."),
    ] = None,
    operator: Annotated[str | None, typer.Option(help="Who handed it over; default: CUSTODY_OPERATOR.")] = None,
    as_json: Json = False,
) -> None:
    """Record to whom a volume was handed, when, how and by whom, in the matter and in the custody events."""
    from custody_pipeline.matters.handovers import record_receipt
    from custody_pipeline.matters.register import open_matter, register_of

    settings = settings_of_environment()
    matter = open_matter(settings, name)
    actor = acting(settings, operator, matter)
    count = record_receipt(
        settings, matter, register_of(settings, name), volume, receiver, how, when, confirmation, actor
    )
    line = f"{volume} to {receiver}: recorded for {numbered(count, 'recording')}"
    answer({"volume": volume, "to": receiver, "recordings": count}, [line], as_json=as_json)


@matter_commands.command("gather")
@with_servers_of_demo
def matter_gather(
    name: Name,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the nights, and collect nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Collect the nights of the matter that are missing or may still grow, oldest first."""
    settings, matter, register, found = _standing(name)
    nights = [night.night for night in found.nights if night.command]
    if dry_run or not nights:
        lines = [f"custody run --date {night}" for night in nights]
        nothing = ["nothing to gather: every known night of the matter is final"]
        if unmatched := found.found.unmatched:
            nothing.append(
                f"{numbered(len(unmatched), 'id')} in no collected night: from and to would name more nights"
            )
        answer({"nights": nights}, lines or nothing, as_json=as_json)
        raise typer.Exit(OK)
    from custody_pipeline.defs.one_night import run_one_night
    from custody_pipeline.matters.standing import standing

    status, actor = OK, acting(settings, matter=matter)
    for number, night in enumerate(nights, 1):
        say(f"night {night}, {number} of {len(nights)}")
        with progress_bars():
            outcome = run_one_night(settings, night, say=say)
        register.note(actor, f"gathered {night}", status=outcome.status, problems=outcome.problems)
        for problem in outcome.problems:
            say(f"{night}: {problem}")
        status = max(status, outcome.status)
    _show(matter, standing(settings, matter, register), as_json=as_json)
    raise typer.Exit(status)


Apply = Annotated[bool, typer.Option("--apply", help="Do it. Without this, only what would be done is shown.")]


@matter_commands.command("hold")
@with_servers_of_demo
def matter_hold(name: Name, apply: Apply = False, as_json: Json = False) -> None:
    """Protect the matter's recordings from deletion at the vendor and in S3. A dry run without --apply."""
    from custody_pipeline.matters.holds import hold

    settings, matter, register, found = _standing(name)
    # Recordings that are excluded from production are held as well.
    recordings = found.found.recordings
    if not recordings:
        stop("the selection finds no recording: nothing to hold", INCOMPLETE)
    if unmatched := found.found.unmatched:
        say(f"{numbered(len(unmatched), 'id')} in no collected night cannot be held: run their nights, then hold again")
    if found.not_known:
        say(f"{numbered(found.not_known, 'more recording')} may belong to it, not held: custody matter show {name}")
    if not apply:
        count = len({item.conversation_id for item in recordings})
        what = f"{numbered(count, 'conversation')}, {numbered(len(recordings), 'recording')} and their cuts"
        result = {"conversations": count, "recordings": len(recordings)}
        answer(result, [f"would protect {what}; --apply does it"], as_json=as_json)
        raise typer.Exit(OK)
    actor = acting(settings, matter=matter)
    with progress_bars():
        holds = hold(settings, register, recordings, actor, matter.why)
    lines = [", ".join(f"{number} {kind} held" for kind, number in holds.count().items())]
    for why, number in Counter(holds.failed.values()).most_common():
        lines.append(f"not held, {number}: {why}")
        lines += [f"  {item}" for item, reason in holds.failed.items() if reason == why][:_OF_A_REASON]
        if number > _OF_A_REASON:
            lines.append(f"  … and {number - _OF_A_REASON} more; --json lists all")
    answer({**holds.count(), "failed": holds.failed}, lines, as_json=as_json)
    raise typer.Exit(FINDINGS if holds.failed else OK)


@matter_commands.command("release")
@with_servers_of_demo
def matter_release(name: Name, apply: Apply = False, as_json: Json = False) -> None:
    """Release what this matter holds and no other matter does. A dry run without --apply."""
    from dataclasses import asdict

    from custody_pipeline.matters.holds import read_holds, release
    from custody_pipeline.matters.register import open_matter, register_of

    settings = settings_of_environment()
    matter, register = open_matter(settings, name), register_of(settings, name)
    if not apply:
        held = read_holds(register).count()
        objects = ", ".join(f"{number} {kind}" for kind, number in held.items())
        line = f"would release {objects}, except those that another matter holds; --apply does it"
        answer(held, [line], as_json=as_json)
        raise typer.Exit(OK)
    actor = acting(settings, matter=matter)
    with progress_bars():
        outcome = release(settings, register, actor, matter.why)
    lines = [", ".join(f"{number} {kind} released" for kind, number in outcome.released.items())]
    lines += [f"{number} {kind} stay held by another matter" for kind, number in outcome.kept.items() if number]
    lines += [f"not released: {item}: {why}" for item, why in outcome.failed.items()]
    answer(asdict(outcome), lines, as_json=as_json)
    raise typer.Exit(FINDINGS if outcome.failed else OK)


def _standing(name: str) -> tuple[Settings, Matter, Register, Standing]:
    from custody_pipeline.matters.standing import standing_of

    settings = settings_of_environment()
    return settings, *standing_of(settings, name)


def _show(matter: Matter, found: Standing, *, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
    else:
        from custody_pipeline.cli.matter_page import print_standing

        print_standing(matter, found)
