"""`custody doctor`, `env`, `mapping`, `dictionary` and `key`: setting a deployment up.

Belongs here: arguments and printing. Does not: the checks (operations), the mapping (models).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from custody_pipeline.cli.shared import (
    FINDINGS,
    INCOMPLETE,
    OK,
    USAGE,
    Json,
    Night,
    app,
    console_of_stdout,
    print_json,
    settings_of_environment,
    stop,
)

mapping_commands = typer.Typer(no_args_is_help=True, help="The tag mapping against real data.")
app.add_typer(mapping_commands, name="mapping")


@mapping_commands.command("check")
def mapping_check(night: Night, as_json: Json = False) -> None:
    """Which mapped tags were found, where and how often, and which tags are in no mapping."""
    from dataclasses import asdict

    from custody_pipeline.cli.mapping_page import print_report
    from custody_pipeline.models.mapping_file import load_mapping
    from custody_pipeline.models.mapping_report import mapping_report
    from custody_pipeline.warehouse.connection import Warehouse

    settings = settings_of_environment()
    load_mapping(settings.mapping_path)
    with Warehouse(settings).open(read_only=True) as con:
        report = mapping_report(con, night.date())
    if as_json:
        print_json(asdict(report))
    else:
        print_report(console_of_stdout(), report)


@mapping_commands.command("suggest")
def mapping_suggest() -> None:
    """Draft a mapping from the tags that the collected nights hold."""
    from custody_pipeline.models.mapping_report import suggest_mapping
    from custody_pipeline.warehouse.connection import Warehouse

    with Warehouse(settings_of_environment()).open(read_only=True) as con:
        sys.stdout.write(suggest_mapping(con))


@app.command()
def doctor(
    probe_lock: Annotated[
        bool, typer.Option("--probe-lock", help="Try the lock on a small object below probe/ of CUSTODY_PUBLISH_URL.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Try everything that a night needs: settings, login, permissions, divisions, buckets, lock, clock, mapping."""
    from custody_pipeline.operations.doctor import examine

    lines = []
    advised = set()
    console = console_of_stdout()
    colours = {"ok": "green", "not ok": "red", "warning": "yellow", "not configured": "yellow"}
    for line in examine(probe=probe_lock):
        lines.append(line)
        if not as_json:
            console.print(f"[{colours[line.state]}]{line.state:>14}[/]  [bold]{line.check}[/bold]  ", end="")
            console.print(line.found, markup=False, soft_wrap=True)
            if line.advice and line.state != "ok" and line.advice not in advised:
                advised.add(line.advice)
                console.print(f"{'':16}→ {line.advice}", markup=False, soft_wrap=True)
    if as_json:
        print_json([line.to_dict() for line in lines])
    raise typer.Exit(FINDINGS if any(line.state == "not ok" for line in lines) else OK)


key_commands = typer.Typer(no_args_is_help=True, help="Keys that sign the log.")
app.add_typer(key_commands, name="key")


@key_commands.command("new")
def key_new(
    name: Annotated[str, typer.Argument(help="The log's name, for example custody.example.com/eu.")],
    path: Annotated[Path, typer.Argument(help="Where to write the private key; the public one goes beside it.")],
) -> None:
    """Make an Ed25519 key pair. Set CUSTODY_SIGNING_KEY_FILE to its file."""
    from custody_pipeline.evidence.log.keys import new_key, write_new_key

    try:
        public = write_new_key(path, new_key(name))
    except (OSError, ValueError) as error:
        stop(f"{path}: {error}", USAGE)
    print(public)  # noqa: T201


@key_commands.command("show")
def key_show() -> None:
    """Print the public keys that sign now: the file to hand over for `custody verify --key`."""
    from custody_pipeline.publish.sealing import signing_verifiers

    found = signing_verifiers(settings_of_environment())
    if not found:
        stop("there is no signing key yet: make one with custody key new, and set CUSTODY_SIGNING_KEY_FILE", INCOMPLETE)
    for key in found:
        print(f"# sha256:{key.fingerprint}\n{key.vkey}")  # noqa: T201


@app.command()
def env(
    as_json: Json = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md.")] = False,
) -> None:
    """Every setting: its value, or its default after #, and what it is. Secrets are not shown."""
    from custody_pipeline.settings.reading import all_settings, settings_document

    if as_markdown:
        sys.stdout.write(settings_document())
        return
    rows = list(all_settings(settings_of_environment()))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        line = f"{row['variable']}={row['value']}" if "value" in row else f"# {row['variable']}={row['default']}"
        print(f"{line}\n    {row['description']}")  # noqa: T201


@app.command()
def dictionary() -> None:
    """The data dictionary, from the headers of the SQL files and the tag mapping."""
    from custody_pipeline.models.dictionary import data_dictionary
    from custody_pipeline.models.mapping_file import load_mapping
    from custody_pipeline.settings import Settings
    from custody_pipeline.warehouse.sql_files import load_models

    sys.stdout.write(data_dictionary(load_models(), load_mapping(Settings.model_fields["mapping_path"].default)))
