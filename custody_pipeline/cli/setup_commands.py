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
    answer,
    answer_whole,
    app,
    console_of_stdout,
    demo_of_home,
    print_json,
    settings_of_environment,
    stop,
    tell,
    with_servers_of_demo,
)

mapping_commands = typer.Typer(no_args_is_help=True, help="The tag mapping against real data.")
app.add_typer(mapping_commands, name="mapping")


@mapping_commands.command("check")
def mapping_check(night: Night, as_json: Json = False) -> None:
    """Show which mapped tags were found, where and how often, and which tags the mapping does not name."""
    from dataclasses import asdict

    from custody_pipeline.cli.mapping_page import print_report
    from custody_pipeline.fleet.warehouse_of import warehouse_of
    from custody_pipeline.models.mapping_file import load_mapping
    from custody_pipeline.models.mapping_report import mapping_report
    from custody_pipeline.operations.explain import refuse_uncollected

    settings = settings_of_environment()
    load_mapping(settings.mapping_path)
    with warehouse_of(settings, night.date()).open(read_only=True) as con:
        refuse_uncollected(con, night.date())
        report = mapping_report(con, night.date())
    if as_json:
        print_json(asdict(report))
    else:
        print_report(console_of_stdout(), report)


@mapping_commands.command("suggest")
def mapping_suggest(as_json: Json = False) -> None:
    """Draft a mapping from the tags of the collected nights."""
    import yaml

    from custody_pipeline.models.mapping_report import suggest_mapping
    from custody_pipeline.warehouse.connection import Warehouse

    with Warehouse(settings_of_environment()).open(read_only=True) as con:
        draft = suggest_mapping(con)
    answer_whole(yaml.safe_load(draft), draft, as_json=as_json)


@app.command()
@with_servers_of_demo
def doctor(
    probe_lock: Annotated[
        bool, typer.Option("--probe-lock", help="Try the lock on a small object below probe/ of CUSTODY_PUBLISH_URL.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Try everything that a night needs: settings, login, permissions, divisions, buckets, lock, clock, mapping."""
    from rich.text import Text

    from custody_pipeline.io.escaping import folded
    from custody_pipeline.operations.doctor import examine

    console = console_of_stdout()
    lines = []
    advised = set()
    colours = {"ok": "green", "not ok": "red", "warning": "yellow", "not configured": "yellow"}
    for line in examine(probe=probe_lock):
        lines.append(line)
        if not as_json:
            text = Text(folded(f"{line.state:>14}  {line.check}  {line.found}", console.width, "", " " * 16))
            text.stylize(colours[line.state], 0, 14)
            text.stylize("bold", 16, 16 + len(line.check))
            console.print(text, soft_wrap=True)
            if line.advice and line.state != "ok" and line.advice not in advised:
                advised.add(line.advice)
                tell(f"{'':16}→ {line.advice}", 18)
    if as_json:
        from dataclasses import asdict

        print_json([asdict(line) for line in lines])
    raise typer.Exit(FINDINGS if any(line.state == "not ok" for line in lines) else OK)


key_commands = typer.Typer(no_args_is_help=True, help="Keys that sign the log, and those that encrypt documents.")
app.add_typer(key_commands, name="key")


@key_commands.command("new")
def key_new(
    name: Annotated[str, typer.Argument(help="The log's name, for example custody.example.com/eu.")],
    path: Annotated[Path, typer.Argument(help="File for the private key; the public key is written beside it.")],
    as_json: Json = False,
) -> None:
    """Make an Ed25519 key pair. Set CUSTODY_SIGNING_KEY_FILE to its file."""
    from custody_pipeline.evidence.log.keys import new_key, write_new_key
    from custody_pipeline.io.whole_file import why_unreadable

    try:
        public = write_new_key(path, new_key(name))
    except FileExistsError as error:
        stop(f"{error.filename or path} is there already: no key is written over, name another file", USAGE)
    except (OSError, ValueError) as error:
        stop(f"no key was made: {why_unreadable(error)}", USAGE)
    answer_whole({"private_key": str(path), "public_key": str(public)}, f"{public}\n", as_json=as_json)


@key_commands.command("open")
def key_open(
    path: Annotated[Path, typer.Argument(help="An encrypted landing file, or a capture document under its key.")],
    to: Annotated[Path, typer.Argument(help="A new file for what it holds.")],
    as_json: Json = False,
) -> None:
    """Write what an encrypted file of this deployment holds into a new file that only its owner may read."""
    from custody_pipeline.capture.capture_place import open_file

    content = open_file(settings_of_environment(), path)
    try:
        with to.open("xb") as file:
            file.write(content)
    except FileExistsError:
        stop(f"{to} is there already", USAGE)
    answer({"path": str(to), "bytes": len(content)}, [f"{len(content):,} bytes in {to}"], as_json=as_json)


@key_commands.command("show")
def key_show(as_json: Json = False) -> None:
    """Print the public keys that sign now, as the file to hand over for `custody verify --key`."""
    from custody_pipeline.publish.sealing import signing_verifiers

    found = signing_verifiers(settings_of_environment())
    if not found:
        stop("there is no signing key yet: make one with custody key new, and set CUSTODY_SIGNING_KEY_FILE", INCOMPLETE)
    text = "".join(f"# sha256:{key.fingerprint}\n{key.vkey}\n" for key in found)
    answer_whole([{"sha256": key.fingerprint, "key": key.vkey} for key in found], text, as_json=as_json)


@app.command()
def env(
    as_json: Json = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md.")] = False,
) -> None:
    """Show every setting: its value, or its default after #, and its meaning. Secrets are not shown."""
    from custody_pipeline.settings.reading import all_settings, settings_document

    if as_markdown:
        sys.stdout.write(settings_document())
        return
    rows = list(all_settings(settings_of_environment()))
    if as_json:
        print_json(rows)
        return
    if demo_of_home():
        tell("# a home of custody demo: each command that needs them starts its S3 server and its organisation", 2)
    for row in rows:
        line = f"{row['variable']}={row['value']}" if "value" in row else f"# {row['variable']}={row['default']}"
        tell(line, 4)
        tell(f"    {row['description']}", 4)


@app.command()
def dictionary(as_json: Json = False) -> None:
    """Print the data dictionary, from the headers of the SQL files and the tag mapping."""
    from custody_pipeline.models.dictionary import columns_of, data_dictionary
    from custody_pipeline.models.mapping_file import load_mapping
    from custody_pipeline.settings import Settings
    from custody_pipeline.warehouse.sql_files import load_models

    models, mapping = load_models(), load_mapping(Settings.model_fields["mapping_path"].default)
    described = {
        key: {"description": model.description, "grain": model.grain, "columns": columns_of(model, mapping)}
        for key, model in models.items()
    }
    answer_whole(described, data_dictionary(models, mapping), as_json=as_json)
