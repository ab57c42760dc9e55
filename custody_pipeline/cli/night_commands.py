"""`custody run`, `status`, `explain` and `gaps`: nights and their findings.

Belongs here: arguments and printing. Does not: the night (defs), the findings (operations).
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from custody_pipeline.cli.shared import (
    FINDINGS,
    INCOMPLETE,
    OK,
    Json,
    Night,
    Profiled,
    app,
    console_of_stdout,
    print_json,
    progress_bars,
    say,
    settings_of_environment,
    stop,
)


def _refuse_future(night: datetime) -> None:
    if night.date() >= datetime.now(UTC).date():
        raise typer.BadParameter(f"the night of {night:%Y-%m-%d} has not ended yet: it is a UTC day")


@app.command()
def run(
    night: Night,
    as_json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log on stderr.")] = False,
    profile: Profiled = False,
) -> None:
    """Collect, join, explain, check and publish one night, in this process. The Dagster page shows the run."""
    from custody_pipeline.cli.summary_page import print_summary
    from custody_pipeline.defs.one_night import run_one_night

    _refuse_future(night)
    settings = settings_of_environment()
    with progress_bars():
        outcome = run_one_night(settings, night.date(), verbose=verbose, profile=profile, say=say)
    if as_json:
        print_json(outcome.to_dict())
    elif outcome.summary is not None:
        print_summary(console_of_stdout(), outcome.summary)
    if outcome.profile is not None and not as_json:
        print(f"\n{outcome.profile.table()}\n\n  kept as {outcome.profile_path}")  # noqa: T201
    for problem in outcome.problems:
        print(problem, file=sys.stderr)  # noqa: T201
    raise typer.Exit(outcome.status)


@app.command()
def rebuild(as_json: Json = False) -> None:
    """Make a lost warehouse anew, from the landing files and the published cuts. Exit status 1 if something differs."""
    from dataclasses import asdict

    from custody_pipeline.models.mapping_file import load_mapping
    from custody_pipeline.operations.rebuild import rebuild

    settings = settings_of_environment()
    found = rebuild(settings, load_mapping(settings.mapping_path), say)
    if as_json:
        print_json([asdict(night) for night in found])
    else:
        for night in found:
            published = f"revision {night.revision}" if night.revision else "not published"
            differs = f"; differs: {', '.join(night.differing)}" if night.differing else ""
            lost = f"; landing files that are gone: {', '.join(night.lost)}" if night.lost else ""
            print(f"{night.night}  {night.loads} loads, {published}{differs}{lost}")  # noqa: T201
    raise typer.Exit(FINDINGS if any(night.differing or night.lost for night in found) else OK)


@app.command()
def status(as_json: Json = False) -> None:
    """Every night with its state, revision and numbers; exit status 1 if a night failed or nobody collected it."""
    from custody_pipeline.cli.nights_page import print_nights
    from custody_pipeline.operations.night_states import nights
    from custody_pipeline.warehouse.night_states import NOT_PUBLISHED

    found = nights(settings_of_environment())
    if as_json:
        print_json([night.to_dict() for night in found])
    else:
        print_nights(console_of_stdout(), found)
    if not found:
        raise typer.Exit(INCOMPLETE)
    raise typer.Exit(FINDINGS if any(night.state in NOT_PUBLISHED for night in found) else OK)


@app.command()
def explain(
    subject: Annotated[str, typer.Argument(metavar="ID", help="A recording id or a conversation id.")],
    as_json: Json = False,
) -> None:
    """The whole story of a recording: timeline, tags and their sources, each gap with its proof and next step."""
    from custody_pipeline.cli.story import print_story
    from custody_pipeline.operations.explain import explain

    story = explain(settings_of_environment(), subject)
    if story is None:
        stop(f"no recording or conversation {subject!r} in the published nights; custody status lists them", FINDINGS)
    if as_json:
        print_json(story)
    else:
        for recording in story["recordings"]:
            print_story(console_of_stdout(), recording)


@app.command()
def gaps(
    night: Annotated[datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="One night only.")] = None,
    reason: Annotated[str | None, typer.Option(help="One reason only, for example TAG_NEVER_SET.")] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, with an apostrophe before what is a formula.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What is missing, with the reason, the proof and the next step."""
    from custody_pipeline.io.escaping import escaped, harmless_cell
    from custody_pipeline.models.reasons import BY_CODE
    from custody_pipeline.operations.explain import gaps as find_gaps

    if reason is not None and reason not in BY_CODE:
        raise typer.BadParameter(f"no such reason: {reason}; there are {', '.join(BY_CODE)}")
    if night is not None:
        _refuse_future(night)
    names, rows = find_gaps(settings_of_environment(), night.date() if night else None, reason)
    if as_json:
        print_json(rows)
    elif as_csv:
        import csv

        writer = csv.DictWriter(sys.stdout, names)
        writer.writeheader()
        writer.writerows({name: harmless_cell(value) for name, value in row.items()} for row in rows)
    else:
        console = console_of_stdout()
        for row in rows:
            line = f"{row['partition_date']}  {row['reason']}  {escaped(str(row['recording_id'] or '-'))}"
            console.print(line, markup=False, soft_wrap=True)
            console.print(f"    {row['sentence']} → {row['next_action']}", markup=False, soft_wrap=True)
        console.print(f"{len(rows)} gaps")
