"""`custody report`, `sheet`, `catalog` and `organisations`: files for a browser, a spreadsheet or an engine.

Belongs here: arguments. Does not: the page (operations/night_report.py), the workbook (evidence/cut/workbook.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from custody_pipeline.cli.shared import (
    FINDINGS,
    INCOMPLETE,
    OK,
    FirstNight,
    Json,
    LastNight,
    OneNight,
    answer,
    answer_whole,
    app,
    numbered,
    print_json,
    settings_of_environment,
    stop,
    tell,
    with_servers_of_demo,
)

if TYPE_CHECKING:
    from datetime import date

    from custody_pipeline.operations.night_report import Scope
    from custody_pipeline.settings import Settings


@app.command()
def report(
    night: OneNight = None,
    first: FirstNight = None,
    last: LastNight = None,
    matter: Annotated[str | None, typer.Option(help="Only the recordings that this matter selects.")] = None,
    folder: Annotated[Path | None, typer.Option("--out", help="Where to; default: below reports of the home.")] = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page: completeness, what is missing and why, who must do what until when, the trend, the tags.

    Its numbers open CSV files beside it. Without a date: the newest night. Exit status 0 complete, 1 not, 2 not known.
    """
    from dataclasses import asdict, replace

    from custody_pipeline.cli.retention_commands import deadlines
    from custody_pipeline.fleet.overview import every_night
    from custody_pipeline.operations.night_report import night_report, write_report
    from custody_pipeline.operations.summary import nights_not_published

    if (night and (first or last or matter)) or (first and last and first > last):
        raise typer.BadParameter("give --date, or --from and --to, the earlier day first, or --matter")
    settings = settings_of_environment()
    days = tuple(day and day.date() for day in ((night, night) if night else (first, last)))
    if matter:
        name, scope = f"matter-{matter}", _of_matter(settings, matter, *days)
    else:
        scope = _of_nights(settings, *days)
        name = str(scope.first) if scope.first == scope.last else f"{scope.first}_{scope.last}"
    if scope.first > scope.last:  # one end was given, and every night is beyond it
        end = f"until {scope.last}" if last else f"from {scope.first} on"
        stop(f"no night {end} was collected: custody status lists the nights", INCOMPLETE)
    scope = replace(scope, failed=frozenset(nights_not_published(settings)))
    with every_night(settings, scope.first, scope.last) as con:
        if as_json:
            found = night_report(con, scope)
            print_json(asdict(found))
        else:
            due = [line.removeprefix("retention: ") for line in deadlines(settings)]
            path, found = write_report(con, scope, folder or settings.home / "reports" / name, due)
            print(path)  # noqa: T201
            tell(found.verdict, 0)
    raise typer.Exit({"good": OK, "bad": FINDINGS}.get(found.tone, INCOMPLETE))


@app.command()
def sheet(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="For example gaps or chain_of_custody.")],
    night: OneNight = None,
    out: Annotated[Path | None, typer.Option(help="The .xlsx file; default: TABLE.xlsx here.")] = None,
    as_json: Json = False,
) -> None:
    """Write a table as a spreadsheet (.xlsx) in which text stays text: 007, 1.10, long numbers, =1+1."""
    from custody_pipeline.cli.gaps_page import warn_of_unsettled
    from custody_pipeline.evidence.cut.workbook import write_workbook
    from custody_pipeline.fleet.overview import every_night
    from custody_pipeline.operations.explain import GapFilter, refuse_uncollected, unsettled

    path = out or Path(f"{table}.xlsx")
    settings, day = settings_of_environment(), night and night.date()
    with every_night(settings, day, day) as con:
        named = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'custody' ORDER BY 1"
        tables = [row[0] for row in con.execute(named).fetchall()]
        if table not in tables:
            raise typer.BadParameter(f"no table {table!r}; there are {', '.join(tables)}")
        if day and table != "nights":  # it has nights that nobody collected
            refuse_uncollected(con, day)
        answer = con.execute(
            f"FROM custody.{table} WHERE $night::DATE IS NULL OR partition_date = $night ORDER BY ALL",
            {"night": day},
        )
        notes = write_workbook(path, table, answer.to_arrow_reader())
    if as_json:
        print_json({"file": str(path), "changed_cells": len(notes)})
    else:
        print(path)  # noqa: T201
        if notes:
            tell(f"{len(notes)} cells could not be kept as they are: see the sheet 'changed cells'")
    warn_of_unsettled(unsettled(settings, GapFilter(day, day)), "the table says")


def _collected(settings: Settings) -> tuple[date, date] | None:
    """The oldest and the newest night that was collected; None before the first."""
    from custody_pipeline.fleet.overview import analyst_database

    with analyst_database(settings) as con:
        return con.execute(
            "SELECT min(partition_date), max(partition_date) FROM custody.nights WHERE collected_at IS NOT NULL "
            "HAVING count(*) > 0"
        ).fetchone()


def _of_nights(settings: Settings, first: date | None, last: date | None) -> Scope:
    """The nights between two ends. Without ends: the newest night. With one end: as far as there are nights."""
    from custody_pipeline.operations.night_report import Scope, scope_of_night

    if (collected := _collected(settings)) is None:
        stop("no night was collected yet: custody run --date YYYY-MM-DD collects one", INCOMPLETE)
    oldest, newest = collected
    first, last = first or (newest if last is None else oldest), last or newest
    if first == last:
        return scope_of_night(first)
    return Scope(
        first, last, f"Custody report: nights from {first} to {last}", f"custody gaps --from {first} --to {last}"
    )


def _of_matter(settings: Settings, name: str, first: date | None, last: date | None) -> Scope:
    from custody_pipeline.matters.standing import standing_of
    from custody_pipeline.operations.night_report import Scope

    matter, _, found = standing_of(settings, name)
    keys = [(item.night, item.conversation_id, item.recording_id) for item in found.found.recordings]
    nights = [night.night for night in found.nights if (first or night.night) <= night.night <= (last or night.night)]
    if not nights:
        of_days = " of these days" if first or last else ""
        stop(f"the matter {name} selects no night{of_days}: custody matter show {name}", INCOMPLETE)
    doubts = (
        (len(found.found.unmatched), "id", "that no collected night has"),
        (len(found.found.unseen), "name", "of an agent, a queue, a division or a tag that no collected night has"),
        (found.not_known, "more recording", "that may belong to the matter: no document tells"),
        (found.to_come, "night", "of its dates that did not end yet"),
    )
    return Scope(
        first or nights[0],
        last or nights[-1],
        f"Custody report: {matter.title}",
        f"custody matter show {name}",
        tuple(keys),
        frozenset(nights),
        tuple(f"Not on this page: {numbered(number, what)} {of_it}." for number, what, of_it in doubts if number),
    )


catalog_commands = typer.Typer(no_args_is_help=True, help="The published tables for Athena, Glue, Spark, Trino.")
app.add_typer(catalog_commands, name="catalog")


@catalog_commands.command("athena")
@with_servers_of_demo
def catalog_athena(
    database: Annotated[str, typer.Option(help="Of Glue's catalogue.")] = "custody",
    first: FirstNight = None,
    as_json: Json = False,
) -> None:
    """Print CREATE EXTERNAL TABLE statements over the current copies. Nights are projected; no crawler is needed.

    The first night is --from, otherwise CUSTODY_FIRST_NIGHT, otherwise the oldest night that was collected.
    """
    from custody_pipeline.models.mapping_file import load_mapping
    from custody_pipeline.publish.engine_catalog import athena_ddl, first_day

    settings = settings_of_environment()
    day = first.date() if first else None
    if not (day or settings.first_night) and settings.analyst_path.exists():
        day, _ = _collected(settings) or (None, None)
    day = first_day(settings, day)
    ddl = athena_ddl(settings, load_mapping(settings.mapping_path), database=database, first=day)
    answer_whole({"ddl": ddl}, f"{ddl}\n", as_json=as_json)


@catalog_commands.command("iceberg")
@with_servers_of_demo
def catalog_iceberg(
    catalog: Annotated[str, typer.Argument(help="The catalogue's name in pyiceberg's configuration.")],
    namespace: Annotated[str, typer.Option(help="Of the tables.")] = "custody",
    as_json: Json = False,
) -> None:
    """Register the sealed Parquet files in Iceberg tables, without copies. Run it again after publishing nights."""
    from custody_pipeline.publish.engine_catalog import register_iceberg

    registered = register_iceberg(settings_of_environment(), catalog, namespace)
    lines = (f"{namespace}.{table}: {len(nights)} nights registered" for table, nights in registered.items())
    answer(registered, lines, as_json=as_json)


@app.command()
@with_servers_of_demo
def organisations(
    listed: Annotated[Path, typer.Argument(metavar="FILE", help="Lines NAME s3://bucket/prefix.")],
    nights: Annotated[int, typer.Option(min=1, max=366, help="How many nights back.")] = 31,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("organisations.html"),
    as_json: Json = False,
) -> None:
    """Write one page over the nights of several organisations. Exit status 1 if one is not complete."""
    from dataclasses import asdict

    from custody_pipeline.operations.organisations import page, read_organisations, rows

    found = rows(settings_of_environment(), read_organisations(listed), nights)
    if as_json:
        print_json([asdict(row) for row in found])
    else:
        out.write_text(page(found), encoding="utf-8")
        well = sum(row.is_well for row in found)
        tell(f"{out}: {well} of {len(found)} organisations have each of the last {nights} nights, complete")
    if any(row.problem for row in found):
        raise typer.Exit(INCOMPLETE)
    raise typer.Exit(OK if all(row.is_well for row in found) else FINDINGS)
