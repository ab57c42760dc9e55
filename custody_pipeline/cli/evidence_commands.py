"""`custody verify`, `prove`, `package`, `fixity`, `tidy` and `witness`: what was sealed.

Belongs here: arguments and printing. Does not: the checks (evidence, operations).
"""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from custody_pipeline.cli.shared import (
    FINDINGS,
    INCOMPLETE,
    OK,
    Json,
    app,
    print_json,
    progress_bars,
    say,
    settings_of_environment,
    stop,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from custody_pipeline.evidence.log.checkpoint import Checkpoint
    from custody_pipeline.settings import Settings


Keys = Annotated[list[Path] | None, typer.Option("--key", help="A public key file; this deployment's otherwise.")]

Witnesses = Annotated[
    list[Path] | None, typer.Option("--witness", help="A file with a witness's public key; may be given several times.")
]


class MediaMode(StrEnum):
    """How many recordings `verify` compares with their digests."""

    none = "none"
    sample = "sample"
    all = "all"


@app.command()
def verify(
    target: Annotated[
        str | None, typer.Argument(help="s3://…, a folder or a file; the published place otherwise.")
    ] = None,
    keys: Keys = None,
    pinned: Annotated[list[Path] | None, typer.Option(help="A checkpoint of this log kept from earlier.")] = None,
    timestamp_root: Annotated[list[Path] | None, typer.Option(help="PEM root of a timestamp authority.")] = None,
    witness: Witnesses = None,
    quorum: Annotated[
        int | None, typer.Option(min=0, help="How many of the witnesses must have seen the head; all otherwise.")
    ] = None,
    media: Annotated[
        MediaMode, typer.Option(help="Compare recordings in the bucket with their digests.")
    ] = MediaMode.none,
    as_json: Json = False,
) -> None:
    """Check that a set is complete, unaltered since sealing, and that nothing was removed from its end."""
    from custody_pipeline.io import progress
    from custody_pipeline.operations.verification import default_target, record_verification, verify_target
    from custody_pipeline.operations.witnesses import witness_keys
    from custody_pipeline.warehouse.connection import WarehouseError

    settings = settings_of_environment()
    place = target or default_target(settings)
    with progress_bars():
        report = verify_target(
            settings,
            place,
            keys=keys or [],
            pinned=pinned or [],
            timestamp_roots=timestamp_root or [],
            media=media.value,
            progress=progress.report,
            witnesses=witness_keys(witness or []),
            quorum=quorum,
        )
    try:
        record_verification(settings, place, media.value, report)
    except (WarehouseError, OSError) as error:  # in use, or not ours to write
        say(f"this verification left no custody event: {error}")
    if as_json:
        print_json(report.as_dict())
    else:
        for line in report.summary():
            print(line)  # noqa: T201
    raise typer.Exit(report.status)


@app.command()
def fixity(
    budget: Annotated[
        int | None, typer.Option("--bytes", min=1, help="Read at most this much; CUSTODY_FIXITY_BYTES otherwise.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the recordings whose last check is the longest ago again, and compare them with their digests."""
    from custody_pipeline.cli.fixity_page import fixity_lines
    from custody_pipeline.operations.fixity import run_fixity

    with progress_bars():
        report = run_fixity(settings_of_environment(), budget)
    if as_json:
        print_json(report.to_dict())
    else:
        for line in fixity_lines(report):
            print(line)  # noqa: T201
    if report.counts["changed"] or report.counts["gone"]:
        raise typer.Exit(FINDINGS)
    raise typer.Exit(INCOMPLETE if report.counts["unreadable"] else OK)


@app.command()
def prove(
    recording_id: Annotated[str, typer.Argument(help="The recording.")],
    target: Annotated[str | None, typer.Option(help="s3://… or a folder; the published place otherwise.")] = None,
    keys: Keys = None,
    output: Annotated[Path, typer.Option(help="Folder for the proof.")] = Path(),
) -> None:
    """Write one record with its proof of inclusion; it discloses no other record."""
    from custody_pipeline.evidence.cut.proof import RecordNotFoundError
    from custody_pipeline.operations.verification import default_target, write_proofs

    settings = settings_of_environment()
    try:
        for path in write_proofs(settings, target or default_target(settings), recording_id, keys or [], output):
            print(path)  # noqa: T201
    except RecordNotFoundError as error:
        stop(str(error), FINDINGS)


@app.command()
def package(
    to: Annotated[Path, typer.Option(help="The package's folder; must not exist.")],
    reason: Annotated[str, typer.Option(help="Why it is produced: a matter, a request. Goes into the custody events.")],
    night: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="Every recording of it.")
    ] = None,
    recording: Annotated[list[str] | None, typer.Option(help="A recording id; may be given several times.")] = None,
    operator: Annotated[str | None, typer.Option(help="Who produces it; CUSTODY_OPERATOR otherwise.")] = None,
    target: Annotated[str | None, typer.Option(help="s3://… or a folder; the published place otherwise.")] = None,
    as_json: Json = False,
) -> None:
    """Write chosen recordings with documents, records and proofs into a folder for the other side (BagIt, signed)."""
    from custody_pipeline.evidence.cut.proof import RecordNotFoundError
    from custody_pipeline.operations.packaging import PackageError
    from custody_pipeline.operations.packaging import package as write_package
    from custody_pipeline.operations.verification import default_target

    if not night and not recording:
        raise typer.BadParameter("say what to produce: --date, or --recording once or several times")
    settings = settings_of_environment()
    try:
        with progress_bars():
            result = write_package(
                settings,
                target or default_target(settings),
                to,
                recordings=recording or None,
                night=night.date() if night else None,
                reason=reason,
                operator=operator,
            )
    except (PackageError, RecordNotFoundError) as error:
        stop(str(error), FINDINGS)
    if as_json:
        print_json(result)
    else:
        print(f"{result['folder']}: {result['recordings']} recordings, {result['files']} files")  # noqa: T201
        print(f"sha256 of manifest-sha256.txt: {result['sha256']}")  # noqa: T201
        for kind, number in result["without"].items():
            print(f"without {kind}: {number}; data/missing.json says which, and why")  # noqa: T201
    if result["lost"]:
        say(f"{result['lost']} files were sealed and could not be had: data/missing.json says what came back")
    raise typer.Exit(FINDINGS if result["lost"] else OK)


@app.command()
def tidy(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Remove landing files of nights sealed CUSTODY_LANDING_DAYS ago, each only if a sealed cut holds its bytes."""
    from dataclasses import asdict

    from custody_pipeline.operations.verification import public_keys
    from custody_pipeline.publish.tidy import tidy_landing
    from custody_pipeline.warehouse.connection import Warehouse

    settings = settings_of_environment()
    with Warehouse(settings).open(read_only=True) as con:
        result = tidy_landing(con, settings, public_keys(settings, []), dry_run=dry_run)
    if as_json:
        print_json(asdict(result))
    else:
        what = "would be removed" if dry_run else "removed"
        print(f"{len(result.removed)} files, {result.bytes} bytes {what}")  # noqa: T201
        for reason, number in result.kept.items():
            print(f"{number} kept: {reason}")  # noqa: T201


witness_commands = typer.Typer(no_args_is_help=True, help="Cosignatures of others on the log's head (C2SP).")
app.add_typer(witness_commands, name="witness")


Target = Annotated[str | None, typer.Option(help="s3://… or a folder; the published place otherwise.")]


@witness_commands.command("ask")
def witness_ask(
    url: Annotated[str, typer.Argument(help="The witness's submission prefix, before /add-checkpoint.")],
    witness: Witnesses = None,
    target: Target = None,
) -> None:
    """Ask a witness to cosign the published head, and publish what it answers."""
    from custody_pipeline.operations.witnesses import ask, witness_keys

    _witnessed(lambda settings: ask(settings, url, witness_keys(witness or []), target))


@witness_commands.command("add")
def witness_add(
    file: Annotated[Path, typer.Argument(help="A cosigned checkpoint, or a witness's signature lines.")],
    witness: Witnesses = None,
    target: Target = None,
) -> None:
    """Publish a cosignature that came some other way, once it is checked."""
    from custody_pipeline.operations.witnesses import add, witness_keys

    _witnessed(lambda settings: add(settings, file, witness_keys(witness or []), target))


def _witnessed(cosign: Callable[[Settings], Checkpoint]) -> None:
    from custody_pipeline.evidence.log.cosignatures import WitnessError
    from custody_pipeline.evidence.log.note import NoteError

    try:
        checkpoint = cosign(settings_of_environment())
    except (NoteError, WitnessError) as error:
        stop(str(error), FINDINGS)
    except FileNotFoundError as error:
        stop(str(error), INCOMPLETE)
    sys.stdout.write(checkpoint.note.data.decode())
