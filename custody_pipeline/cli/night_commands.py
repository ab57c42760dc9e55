"""`custody run`, `status`, `explain` and `gaps`: nights and their findings.

Belongs here: arguments and printing. Does not: the night (defs), the findings (operations).
"""

from __future__ import annotations

import sys
from datetime import date, datetime, timedelta
from typing import Annotated, Literal

import typer

from custody_pipeline.cli.shared import (
    A_DAY,
    FINDINGS,
    INCOMPLETE,
    OK,
    USAGE,
    FirstNight,
    Json,
    LastNight,
    OneNight,
    Profiled,
    answer,
    app,
    complain,
    console_of_stdout,
    numbered,
    print_json,
    progress_bars,
    say,
    settings_of_environment,
    stop,
    tell,
    with_servers_of_demo,
    without_pandas,
)


@app.command()
@with_servers_of_demo
def run(
    night: OneNight = None,
    first: FirstNight = None,
    last: LastNight = None,
    as_json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log on stderr.")] = False,
    profile: Profiled = False,
) -> None:
    """Collect, join, explain, check and publish one night or several, in this process. Dagster's page shows the runs.

    Of several nights, the exit status is that of the worst.
    """
    from custody_pipeline.cli.nights_page import print_summary
    from custody_pipeline.defs.one_night import run_one_night
    from custody_pipeline.io.night_keys import forgotten_nights

    if (night and (first or last)) or not (night or (first and last and first <= last)):
        raise typer.BadParameter("give --date, or --from and --to, the earlier day first")
    if first and last:
        raise typer.Exit(_run_nights(first.date(), last.date(), as_json=as_json, verbose=verbose, profile=profile))
    assert night is not None  # noqa: S101 - see the condition above
    settings = settings_of_environment()
    if night.date() in forgotten_nights(settings):
        stop(f"the key of {night:%Y-%m-%d} was forgotten: nothing more is kept of that night", INCOMPLETE)
    with progress_bars():
        outcome = run_one_night(settings, night.date(), verbose=verbose, profile=profile, say=say)
    if as_json:
        print_json(outcome.to_dict())
    elif outcome.summary is not None:
        print_summary(console_of_stdout(), outcome.summary)
    if outcome.profile is not None and not as_json:
        print(f"\n{outcome.profile.table()}\n\n  kept as {outcome.profile_path}")  # noqa: T201
    for problem in outcome.problems:
        complain(problem)
    raise typer.Exit(outcome.status)


def _run_nights(first: date, last: date, *, as_json: bool, verbose: bool, profile: bool) -> int:
    """Run nights one after the other, oldest first, a line for each. A failed night does not stop the others.

    A night whose key was forgotten is left out: nothing more is kept of it.
    """
    from custody_pipeline.cli.nights_page import night_line
    from custody_pipeline.defs.one_night import Outcome, run_one_night
    from custody_pipeline.io.night_keys import forgotten_nights
    from custody_pipeline.operations.endings import ending_of

    settings, days = settings_of_environment(), (last - first).days + 1
    outcomes: list[Outcome] = []
    forgotten = forgotten_nights(settings)
    for number in range(days):
        night = first + timedelta(days=number)
        if night in forgotten:
            say(f"night {night}: its key was forgotten, and nothing more is kept of it")
            continue
        say(f"night {night}, {number + 1} of {days}")
        try:
            with progress_bars():
                outcome = run_one_night(settings, night, verbose=verbose, profile=profile)
        except Exception as error:
            line, status = ending_of(error)
            if status == USAGE:
                raise
            outcome = Outcome(night, "", INCOMPLETE, [line], None)
        outcomes.append(outcome)
        if not as_json:
            tell(night_line(night, outcome.summary, outcome.status))
            sys.stdout.flush()
        for problem in outcome.problems:
            complain(f"{night}: {problem}")
    if as_json:
        print_json([outcome.to_dict() for outcome in outcomes])
    return max((outcome.status for outcome in outcomes), default=INCOMPLETE)


@app.command()
@with_servers_of_demo
def rebuild(as_json: Json = False) -> None:
    """Make a lost warehouse again, from landing files and published cuts. Exit status 1 if something differs."""
    from dataclasses import asdict

    from custody_pipeline.models.mapping_file import load_mapping
    from custody_pipeline.operations.rebuild import rebuild

    settings = settings_of_environment()
    found = rebuild(settings, load_mapping(settings.mapping_path), say)
    lines = []
    for night in found:
        published = f"revision {night.revision}" if night.revision else "not published"
        differs = f"; differs: {', '.join(night.differing)}" if night.differing else ""
        lost = f"; landing files that are gone: {', '.join(night.lost)}" if night.lost else ""
        lines.append(f"{night.night}  {night.loads} loads, {published}{differs}{lost}")
    answer([asdict(night) for night in found], lines, as_json=as_json)
    raise typer.Exit(FINDINGS if any(night.differing or night.lost for night in found) else OK)


@app.command()
@without_pandas()
def status(as_json: Json = False) -> None:
    """Show every night with its state, revision and numbers. Exit status 1 if a night failed or was not collected."""
    from custody_pipeline.cli.nights_page import print_nights
    from custody_pipeline.cli.retention_commands import deadlines
    from custody_pipeline.fleet.overview import lost_warehouse
    from custody_pipeline.operations.summary import nights
    from custody_pipeline.warehouse.night_states import NOT_PUBLISHED

    settings = settings_of_environment()
    if lost := lost_warehouse(settings):
        stop(lost, INCOMPLETE)
    found = nights(settings)
    if as_json:
        print_json([night.to_dict() for night in found])
    else:
        print_nights(console_of_stdout(), found)
        for line in deadlines(settings):
            tell(line)
    if not found:
        say(f"no night yet in {settings.home}: custody demo or custody run makes one; --home names another home")
        raise typer.Exit(INCOMPLETE)
    raise typer.Exit(FINDINGS if any(night.state in NOT_PUBLISHED for night in found) else OK)


@app.command()
@without_pandas()
def explain(
    subject: Annotated[str, typer.Argument(metavar="ID", help="A recording id or a conversation id.")],
    as_json: Json = False,
) -> None:
    """Show the whole story of a recording: timeline, tags and their sources, each gap with its proof and next step."""
    from custody_pipeline.cli.story import print_story
    from custody_pipeline.operations.endings import ending_of
    from custody_pipeline.operations.explain import GapFilter, explain, record_explained, unsettled

    settings = settings_of_environment()
    story = explain(settings, subject)
    if story is None:
        open_nights = unsettled(settings, GapFilter())
        which = "1 of them is" if open_nights == 1 else f"{open_nights} of them are"
        more = f"; {which} failed, missing or not established" if open_nights else ""
        stop(f"no recording or conversation {subject!r} in the nights that custody status lists{more}", INCOMPLETE)
    if as_json:
        print_json(story)
    else:
        for recording in story["recordings"]:
            print_story(console_of_stdout(), recording)
    try:
        record_explained(settings, story)
    except Exception as error:  # noqa: BLE001 - in use, read-only or on a full disk: the story is told
        say(f"this reading left no custody event: {ending_of(error)[0]}")


@app.command()
@without_pandas()
def gaps(
    night: OneNight = None,
    first: FirstNight = None,
    last: LastNight = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason, for example TAG_NEVER_SET.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only gaps about this tag, for example Legal-Hold.")] = None,
    severity: Annotated[Literal["error", "warning", "info"] | None, typer.Option(help="Only this severity.")] = None,
    recoverable: Annotated[Literal["yes", "no", "until"] | None, typer.Option(help="May it still close?")] = None,
    before: Annotated[
        datetime | None,
        typer.Option(**A_DAY, help="Only gaps whose deadline, as in the report, is before this day."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with an apostrophe before every formula.")] = False,
    as_json: Json = False,
) -> None:
    """Show what is missing, grouped by reason, with the tag, the proof and the next step."""
    from difflib import get_close_matches

    from custody_pipeline.cli.gaps_page import print_gaps, warn_of_unsettled
    from custody_pipeline.models.reasons import BY_CODE
    from custody_pipeline.operations.explain import GapFilter, of_unknown_tags, unsettled
    from custody_pipeline.operations.explain import gaps as find_gaps

    if reason is not None and reason not in BY_CODE:
        nearest = get_close_matches(reason.upper(), BY_CODE, 1)
        hint = f"the nearest is {nearest[0]}" if nearest else f"there are {', '.join(BY_CODE)}"
        raise typer.BadParameter(f"no such reason: {reason}; {hint}")
    if (night and (first or last)) or (first and last and first > last):
        raise typer.BadParameter("give --date, or --from and --to, the earlier day first")
    first, last = night or first, night or last
    wanted = GapFilter(first and first.date(), last and last.date(), reason, severity, recoverable, tag, before)
    settings = settings_of_environment()
    names, rows = find_gaps(settings, wanted)
    if as_json:
        print_json(rows)
    elif as_csv:
        import pyarrow as pa

        from custody_pipeline.publish.harmless_csv import harmless_csv

        for part in harmless_csv(pa.table({name: [row[name] for row in rows] for name in names}).to_reader()):
            sys.stdout.buffer.write(part)
    else:
        print_gaps(rows)
    if tag and (unknown := of_unknown_tags(settings, wanted)):
        say(f"of {numbered(unknown, 'more recording')} no tag is known, so not this one: see custody gaps")
    warn_of_unsettled(unsettled(settings, wanted), "the gaps say")
