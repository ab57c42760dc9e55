"""`custody demo`, `simulator` and `ui`: the product without an account.

Belongs here: arguments and printing. Does not: the organisation (simulator).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from custody_pipeline.cli.shared import (
    A_DAY,
    FINDINGS,
    OK,
    Home,
    Json,
    Profiled,
    app,
    console_of_stdout,
    print_json,
    progress_bars,
    say,
)

Night = Annotated[datetime, typer.Option("--date", **A_DAY, help="The night: a UTC day.", show_default="2026-11-02")]
Nights = Annotated[
    int, typer.Option(min=1, max=31, help="Number of nights. --date is the last one; those before it are smaller.")
]


@app.command()
def demo(
    home: Home = Path(".custody"),
    night: Night = datetime(2026, 11, 2),
    size: Annotated[int, typer.Option(min=1, help="Conversations of the night.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed of the simulated organisation.")] = 7,
    nights: Nights = 1,
    profile: Profiled = False,
    as_json: Json = False,
) -> None:
    """Run a night of a simulated organisation, up to the published dataset. Needs no account and no network.

    With --nights 7 the nights before it come first: smaller, and one of them with a serious fault.
    """
    from custody_pipeline.cli.demo_page import print_demo
    from custody_pipeline.simulator.demo import DemoOrganization, run_demo

    with progress_bars():
        result = run_demo(home.absolute(), DemoOrganization(night.date(), size, seed, nights), say, profile=profile)
    if as_json:
        print_json(result)
    else:
        print_demo(console_of_stdout(), result)
    raise typer.Exit(OK if result["ok"] else FINDINGS)


@app.command()
def simulator(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 lets the system choose.")] = 8900,
    night: Night = datetime(2026, 11, 2),
    size: Annotated[int, typer.Option(min=1, help="Conversations of the night.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed of the simulated organisation.")] = 7,
    nights: Nights = 1,
    export_url: Annotated[
        str | None, typer.Option(help="First write the export of the night to this s3:// place.")
    ] = None,
    answer_key: Annotated[Path | None, typer.Option(help="Write the planted faults to this file (CSV).")] = None,
    until_stdin_closes: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Serve a simulated Genesys Cloud organisation: login and API on one base URL, client custody-demo."""
    from custody_pipeline.simulator.serve import serve_simulator

    serve_simulator(
        port,
        night.date(),
        size,
        seed,
        nights=nights,
        export_url=export_url,
        key_file=answer_key,
        until_stdin_closes=until_stdin_closes,
    )


@app.command()
def ui(
    home: Home = Path(".custody"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page on 127.0.0.1.")] = 3000,
) -> None:
    """Serve Dagster's page on 127.0.0.1. Without CUSTODY_EXPORT_URL, also start the demo's organisation and S3."""
    from custody_pipeline.cli.ui import serve_ui

    raise typer.Exit(serve_ui(home.absolute(), port, say))
