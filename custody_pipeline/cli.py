"""`custody …`: results on stdout, progress and logs on stderr, one exit status for each kind of ending.

Belongs here: arguments, printing, exit statuses. Does not: work (commands, and what they call). Imports are inside the
commands, so that `custody --help` answers at once.

Exit status: 0 all well · 1 findings · 2 could not do everything · 64 the command line or a setting is wrong.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from custody_pipeline.settings import Settings

OK, FINDINGS, INCOMPLETE, USAGE = 0, 1, 2, 64

# typer keeps its usage errors' base class private; BadParameter is the public way to it.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="custody",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Call recordings for legal discovery: one row per recording, every gap explained, every night sealed.",
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Night = Annotated[datetime, typer.Option("--date", formats=["%Y-%m-%d"], help="The night: a UTC day.")]
Home = Annotated[Path, typer.Option("--home", envvar="CUSTODY_HOME", help="Where everything of this deployment lies.")]


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    from custody_pipeline.settings import SettingsError

    try:
        status = app(standalone_mode=False)
    except _UsageError as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(USAGE)
    except SettingsError as error:
        _stop(str(error), USAGE)
    except typer.Abort:
        _stop("stopped", INCOMPLETE)
    except KeyboardInterrupt:
        _stop("stopped", 130)
    sys.exit(status if isinstance(status, int) else OK)


def _stop(message: str, status: int) -> NoReturn:
    print(message, file=sys.stderr)  # noqa: T201
    sys.exit(status)


def _print_json(result: Any) -> None:
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
    sys.stdout.buffer.write(orjson.dumps(result, default=str, option=options))
    sys.stdout.flush()


def _settings() -> Settings:
    from custody_pipeline.settings import load_settings

    return load_settings()


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _say(message: str) -> None:
    """Progress: one line on stderr."""
    print(f"  · {message}", file=sys.stderr, flush=True)  # noqa: T201


@app.command()
def demo(
    home: Home = Path(".custody"),
    night: Night = datetime(2026, 11, 2),
    size: Annotated[int, typer.Option(min=1, help="Conversations of the night.")] = 400,
    seed: Annotated[int, typer.Option(help="Which organisation is simulated.")] = 7,
    as_json: Json = False,
) -> None:
    """One night of a simulated organisation, from nothing to the published dataset. Needs no account and no network."""
    from custody_pipeline.commands.demo import DemoOrganization, print_demo, run_demo

    result = run_demo(home.absolute(), DemoOrganization(night.date(), size, seed), _say)
    if as_json:
        _print_json(result)
    else:
        print_demo(_console(), result)
    raise typer.Exit(OK if result["ok"] else FINDINGS)


@app.command()
def run(
    night: Night,
    as_json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log on stderr.")] = False,
) -> None:
    """Collect, join, explain, check and publish one night, in this process, recorded for the Dagster page."""
    from custody_pipeline.commands.run import run_one_night
    from custody_pipeline.commands.summary import print_summary

    settings = _settings()
    outcome = run_one_night(settings, night.date(), verbose=verbose, say=_say)
    if as_json:
        _print_json(outcome.to_dict())
    elif outcome.summary is not None:
        print_summary(_console(), outcome.summary)
    for problem in outcome.problems:
        print(problem, file=sys.stderr)  # noqa: T201
    raise typer.Exit(outcome.status)


@app.command()
def status(as_json: Json = False) -> None:
    """Every night of the warehouse: its state, its revision, what is missing."""
    from custody_pipeline.commands.status import nights, print_nights

    found = nights(_settings())
    if as_json:
        _print_json([night.to_dict() for night in found])
    else:
        print_nights(_console(), found)
    raise typer.Exit(OK if found else INCOMPLETE)


@app.command()
def explain(
    subject: Annotated[str, typer.Argument(metavar="ID", help="A recording id or a conversation id.")],
    as_json: Json = False,
) -> None:
    """The whole story of a recording: timeline, tags and their sources, each gap with its proof and next step."""
    from custody_pipeline.commands.explain import explain, print_story

    story = explain(_settings(), subject)
    if story is None:
        _stop(f"no recording or conversation {subject!r} in the published nights; custody status lists them", FINDINGS)
    if as_json:
        _print_json(story)
    else:
        for recording in story["recordings"]:
            print_story(_console(), recording)


@app.command()
def gaps(
    night: Annotated[datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="One night only.")] = None,
    reason: Annotated[str | None, typer.Option(help="One reason only, for example TAG_NEVER_SET.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Json = False,
) -> None:
    """What is missing, why, what proves it, and what to do."""
    from custody_pipeline.commands.explain import gaps as find_gaps

    rows = find_gaps(_settings(), night.date() if night else None, reason)
    if as_json:
        _print_json(rows)
    elif as_csv:
        import csv

        writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else ["reason"])
        writer.writeheader()
        writer.writerows(rows)
    else:
        console = _console()
        for row in rows:
            console.print(
                f"{row['partition_date']}  [bold]{row['reason']}[/bold]  {row['recording_id']}", soft_wrap=True
            )
            console.print(f"    {row['sentence']} → {row['next_action']}", markup=False, soft_wrap=True)
        console.print(f"{len(rows)} gaps")


mapping_commands = typer.Typer(no_args_is_help=True, help="The tag mapping against real data.")
app.add_typer(mapping_commands, name="mapping")


@mapping_commands.command("check")
def mapping_check(night: Night, as_json: Json = False) -> None:
    """Which mapped tags were found, where and how often, and which tags are in no mapping."""
    from dataclasses import asdict

    from custody_pipeline.mapping import load_mapping, mapping_report
    from custody_pipeline.warehouse import Warehouse

    settings = _settings()
    load_mapping(settings.mapping_path)
    with Warehouse(settings).open(read_only=True) as con:
        report = asdict(mapping_report(con, night.date()))
    if as_json:
        _print_json(report)
        return
    from rich.table import Table

    for title, rows in report.items():
        if isinstance(rows, (list, tuple)) and rows:
            table = Table(*rows[0], title=str(title), title_justify="left", box=None, padding=(0, 2))
            for row in rows:
                table.add_row(*(str(value) for value in row.values()))
            _console().print(table)


@mapping_commands.command("suggest")
def mapping_suggest() -> None:
    """Draft a mapping from the tags that the collected nights hold."""
    from custody_pipeline.mapping import suggest_mapping
    from custody_pipeline.warehouse import Warehouse

    with Warehouse(_settings()).open(read_only=True) as con:
        sys.stdout.write(suggest_mapping(con))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Try everything that a night needs: settings, login, permissions, divisions, buckets, lock, clock, mapping."""
    from custody_pipeline.commands.doctor import examine

    lines = []
    console = _console()
    colours = {"ok": "green", "not ok": "red", "warning": "yellow", "not configured": "yellow"}
    for line in examine():
        lines.append(line)
        if not as_json:
            console.print(f"[{colours[line.state]}]{line.state:>14}[/]  [bold]{line.check}[/bold]  ", end="")
            console.print(line.found, markup=False, soft_wrap=True)
            if line.advice and line.state != "ok":
                console.print(f"{'':16}→ {line.advice}", markup=False, soft_wrap=True)
    if as_json:
        _print_json([line.to_dict() for line in lines])
    raise typer.Exit(FINDINGS if any(line.state == "not ok" for line in lines) else OK)


@app.command()
def simulator(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 lets the system choose.")] = 8900,
    night: Night = datetime(2026, 11, 2),
    size: Annotated[int, typer.Option(min=1, help="Conversations of the night.")] = 400,
    seed: Annotated[int, typer.Option(help="Which organisation is simulated.")] = 7,
    export_url: Annotated[str | None, typer.Option(help="Write the night's export to this s3:// place first.")] = None,
    answer_key: Annotated[Path | None, typer.Option(help="Write the planted faults to this file (CSV).")] = None,
    until_stdin_closes: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """A simulated Genesys Cloud organisation: login and API on one base URL, client custody-demo."""
    from custody_pipeline.commands.simulator import serve_simulator

    serve_simulator(
        port,
        night.date(),
        size,
        seed,
        export_url=export_url,
        key_file=answer_key,
        until_stdin_closes=until_stdin_closes,
    )


@app.command()
def ui(
    home: Home = Path(".custody"),
    port: Annotated[int, typer.Option(help="Port of the page on 127.0.0.1.")] = 3000,
) -> None:
    """Dagster's page on 127.0.0.1. Without CUSTODY_EXPORT_URL it runs beside the demo's organisation and S3 server."""
    from custody_pipeline.commands.ui import serve_ui

    raise typer.Exit(serve_ui(home.absolute(), port, _say))


@app.command()
def dictionary() -> None:
    """The data dictionary, from the headers of the SQL files and the tag mapping."""
    from custody_pipeline.mapping import load_mapping
    from custody_pipeline.settings import Settings
    from custody_pipeline.sql_models import data_dictionary, load_models

    sys.stdout.write(data_dictionary(load_models(), load_mapping(Settings.model_fields["mapping_path"].default)))


if __name__ == "__main__":
    main()
