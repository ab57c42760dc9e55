"""`custody verify`, `prove`, `package`, `fixity`, `tidy` and `witness`: sealed nights.

Belongs here: arguments and printing. Does not: the checks (evidence, operations).
"""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from custody_pipeline.cli.shared import (
    A_DAY,
    A_TIME,
    FINDINGS,
    INCOMPLETE,
    OK,
    USAGE,
    Json,
    acting,
    answer,
    answer_whole,
    app,
    complain,
    not_blank,
    numbered,
    progress_bars,
    say,
    servers_of_demo,
    settings_of_environment,
    stop,
    with_servers_of_demo,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from custody_pipeline.evidence.log.checkpoint import Checkpoint
    from custody_pipeline.matters.matter import Matter
    from custody_pipeline.operations.fixity import FixityReport
    from custody_pipeline.settings import Settings


Keys = Annotated[
    list[Path] | None,
    typer.Option("--key", help="A public key file; default, for the published place: the keys of this deployment."),
]

Witnesses = Annotated[
    list[Path] | None, typer.Option("--witness", help="A file with the public key of a witness; can be repeated.")
]


@app.command()
def verify(
    target: Annotated[
        str | None, typer.Argument(help="s3://…, a folder or a file; default: the published place.")
    ] = None,
    keys: Keys = None,
    pinned: Annotated[list[Path] | None, typer.Option(help="An earlier checkpoint of this log.")] = None,
    since: Annotated[
        Path | None,
        typer.Option(help="A checkpoint up to which you verified this log before: older nights are not read."),
    ] = None,
    timestamp_root: Annotated[list[Path] | None, typer.Option(help="PEM root of a timestamp authority.")] = None,
    witness: Witnesses = None,
    quorum: Annotated[
        int | None, typer.Option(min=0, help="How many witnesses must have seen the head; default: all.")
    ] = None,
    seen_since: Annotated[
        datetime | None,
        typer.Option(**A_TIME, help="Refuse a head that is older than this (UTC)."),
    ] = None,
    media: Annotated[
        Literal["none", "sample", "all"], typer.Option(help="Compare recordings in the bucket with their digests.")
    ] = "none",
    as_json: Json = False,
) -> None:
    """Check that a sealed set, package or proof is whole and unaltered; with --pinned, also its end."""
    from custody_pipeline.io import progress
    from custody_pipeline.operations.endings import ending_of
    from custody_pipeline.operations.verification import default_target, record_verification, verify_target
    from custody_pipeline.operations.witnesses import witness_keys

    # Read the published files themselves, and not the copy that the demo made.
    with nullcontext() if target else servers_of_demo():
        settings = settings_of_environment()
        place = target or default_target(settings)
        with progress_bars():
            report = verify_target(
                settings,
                place,
                keys=keys or [],
                pinned=pinned or [],
                since=since,
                timestamp_roots=timestamp_root or [],
                media=media,
                progress=progress.report,
                witnesses=witness_keys(witness or []),
                quorum=quorum,
                seen_since=seen_since and seen_since.replace(tzinfo=UTC),
            )
        try:
            record_verification(settings, place, media, report)
        except Exception as error:  # noqa: BLE001 - whatever it is, the verdict is known
            say(f"this verification left no custody event: {ending_of(error)[0]}")
    answer(report.as_dict(), report.summary(), as_json=as_json)
    raise typer.Exit(report.status)


@app.command()
@with_servers_of_demo
def fixity(
    budget: Annotated[
        int | None, typer.Option("--bytes", min=1, help="Read at most this many bytes; default: CUSTODY_FIXITY_BYTES.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the recordings that were not checked for the longest time, and compare them with their digests."""
    from custody_pipeline.operations.fixity import run_fixity

    with progress_bars():
        report = run_fixity(settings_of_environment(), budget)
    answer(report.to_dict(), fixity_lines(report), as_json=as_json)
    if report.counts["changed"] or report.counts["gone"]:
        raise typer.Exit(FINDINGS)
    raise typer.Exit(INCOMPLETE if report.counts["unreadable"] else OK)


def fixity_lines(report: FixityReport) -> Iterator[str]:
    """The outcome of a fixity run, for people."""
    for finding in report.findings:
        detail = finding["error"] or f"SHA-256 {finding['sha256_before']} then, {finding['sha256']} now"
        yield f"{finding['result']:>10}  {finding['uri']}: {detail}"
    if not report.counts and (report.waiting or report.nights_waiting):
        yield "nothing was checked: CUSTODY_FIXITY_BYTES is 0, which turns fixity off; --bytes N reads N bytes now"
    else:
        counts = " · ".join(f"{number:,} {result}" for result, number in sorted(report.counts.items()))
        yield f"{counts or 'nothing was due'} · {report.bytes:,} bytes read"
    if report.waiting:
        yield f"{report.waiting:,} objects wait, the longest since {report.oldest:%Y-%m-%d}"
    if report.nights_waiting:
        yield f"nights that were not reached: {report.nights_waiting:,}"


@app.command()
def prove(
    recording_id: Annotated[str, typer.Argument(help="A recording id.")],
    target: Annotated[str | None, typer.Option(help="s3://… or a folder; default: the published place.")] = None,
    keys: Keys = None,
    output: Annotated[Path, typer.Option(help="Folder for the proof.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write one record with its proof of inclusion. The proof discloses no other record."""
    from custody_pipeline.evidence.cut.proof import RecordNotFoundError
    from custody_pipeline.operations.verification import default_target, write_proofs

    try:
        with nullcontext() if target else servers_of_demo():
            settings = settings_of_environment()
            paths = write_proofs(settings, target or default_target(settings), recording_id, keys or [], output)
    except RecordNotFoundError as error:
        stop(str(error), INCOMPLETE)
    answer_whole({"files": [str(path) for path in paths]}, "".join(f"{path}\n" for path in paths), as_json=as_json)


@app.command()
@with_servers_of_demo
def package(
    to: Annotated[Path, typer.Option(help="Folder of the package; must not exist.")],
    reason: Annotated[
        str,
        typer.Option(
            callback=not_blank, help="Why the package is made: a matter, a request. Recorded in the custody events."
        ),
    ],
    night: Annotated[datetime | None, typer.Option("--date", **A_DAY, help="Every recording of this night.")] = None,
    recording: Annotated[list[str] | None, typer.Option(help="A recording id; can be repeated.")] = None,
    conversation: Annotated[list[str] | None, typer.Option(help="A conversation id; can be repeated.")] = None,
    ids: Annotated[Path | None, typer.Option(help="A list of conversation or recording ids: text, CSV, .xlsx.")] = None,
    matter: Annotated[str | None, typer.Option(help="Recordings that a matter selects and does not exclude.")] = None,
    recipient: Annotated[str, typer.Option("--for", help="For whom; kept in the register: custody packages.")] = "",
    operator: Annotated[str | None, typer.Option(help="Who makes the package; default: CUSTODY_OPERATOR.")] = None,
    target: Annotated[str | None, typer.Option(help="s3://… or a folder; default: the published place.")] = None,
    as_json: Json = False,
) -> None:
    """Write chosen recordings with documents, records and proofs into a folder for the other side (BagIt, signed)."""
    from custody_pipeline.evidence.cut.proof import RecordNotFoundError
    from custody_pipeline.matters.register import open_matter, register_of
    from custody_pipeline.operations.packaging import PackageError
    from custody_pipeline.operations.packaging import package as write_package
    from custody_pipeline.operations.verification import default_target

    if not any((night, recording, conversation, ids, matter)):
        raise typer.BadParameter("name the recordings: --date, --recording, --conversation, --ids or --matter")
    settings = settings_of_environment()
    of_matter = open_matter(settings, matter) if matter else None
    chosen, unmatched = _chosen(settings, conversation or [], ids, of_matter)
    for item in unmatched:
        say(f"{item}: in no collected night" + (", or outside of the matter's conditions" if matter else ""))
    if not (recording or chosen) and not (night and not unmatched):
        stop("the selection finds no recording: nothing was written", INCOMPLETE)
    actor = acting(settings, operator, of_matter)
    try:
        with progress_bars():
            result = write_package(
                settings,
                target or default_target(settings),
                to,
                recordings=recording or None,
                keys=chosen,
                night=night.date() if night else None,
                reason=reason,
                operator=actor.operator,
                recipient=recipient.strip(),
            )
    except PackageError as error:
        stop(str(error), USAGE)
    except RecordNotFoundError as error:
        stop(str(error), INCOMPLETE)
    lines = [
        f"{result['folder']}: {numbered(result['recordings'], 'recording')}, {result['files']} files",
        f"sha256 of tagmanifest-sha256.txt: {result['sha256']}",
    ]
    for kind, number in result["without"].items():
        lines.append(f"without {kind}: {number}; data/missing.json names each, with the reason")
    answer(result, lines, as_json=as_json)
    if of_matter:
        what = f"packaged {numbered(result['recordings'], 'recording')} into {to.name}"
        register_of(settings, of_matter.name).note(actor, what, sha256=result["sha256"])
    if result["lost"]:
        say(f"{result['lost']} sealed files are missing from the package: data/missing.json has the reasons")
    raise typer.Exit(FINDINGS if result["lost"] or unmatched else OK)


@app.command()
def packages(as_json: Json = False) -> None:
    """List the packages made from this home: when, by whom, for whom, why, where, and whether each is still there."""
    from msgspec.structs import asdict

    from custody_pipeline.operations.package_register import packages_of

    found = packages_of(settings_of_environment())
    rows = [{**asdict(item), "recordings": len(item.recordings), "state": item.state()} for item in found]
    lines: list[str] = []
    for item, row in zip(found, rows, strict=True):
        lines += [f"{item.folder}: {row['state']}, recordings: {row['recordings']}", f"  {item.told}"]
    answer(rows, lines or ["no package was made from this home"], as_json=as_json)


def _chosen(
    settings: Settings, conversations: list[str], ids: Path | None, matter: Matter | None
) -> tuple[set[tuple[str, str]], list[str]]:
    """Conversation and recording of what conversations, a list and a matter name; ids and names that match nothing.

    Says how many more recordings may belong to the matter.
    """
    from custody_pipeline.fleet.overview import every_night
    from custody_pipeline.matters.id_list import IdList, read_id_list
    from custody_pipeline.matters.matter import Matter, Selection
    from custody_pipeline.matters.selection import not_known, select

    lists = [IdList.of(conversations)] if conversations else []
    lists += [read_id_list(ids)] if ids else []
    matters = [Matter("ids", Path("ids"), Selection(ids=given)) for given in lists] + ([matter] if matter else [])
    recordings: set[tuple[str, str]] = set()
    unmatched: list[str] = []
    if matter and matter.mask:
        name = matter.name
        raise typer.BadParameter(f"{name} masks fields, a package has whole records: custody matter produce {name}")
    for item in matters:
        with every_night(settings) as con:
            found, (unread, _) = select(con, item), not_known(con, item)
        recordings |= {recording.key for recording in found.produced}
        unmatched += [*found.unmatched, *found.elsewhere, *found.unseen]
        if unread:
            say(f"{numbered(unread, 'more recording')} may belong to it, not packed: custody matter show {item.name}")
    return recordings, unmatched


@app.command()
@with_servers_of_demo
def tidy(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Remove landing files that a sealed cut holds, and the events and logs of old Dagster runs.

    CUSTODY_LANDING_DAYS and CUSTODY_RUNS_DAYS say how old they must be. The numbers of a run's assets stay. A worker's
    files of nights that S3 has are removed as well.
    """
    from custody_pipeline.defs.instance import tidy_runs
    from custody_pipeline.fleet.overview import overview
    from custody_pipeline.fleet.shards import tidy_nights
    from custody_pipeline.operations.endings import ending_of
    from custody_pipeline.operations.verification import public_keys
    from custody_pipeline.publish.tidy import tidy_landing
    from custody_pipeline.warehouse.connection import NoWarehouseError

    settings = settings_of_environment()
    with overview(settings) as con:
        if con is None:
            raise NoWarehouseError(settings.warehouse_path)
        result = tidy_landing(con, settings, public_keys(settings, []), dry_run=dry_run)
    status, runs, freed = OK, 0, 0
    try:
        runs, freed = tidy_runs(settings, dry_run=dry_run)
    except Exception as error:  # noqa: BLE001 - on a full disk Dagster's database cannot even be read
        status = INCOMPLETE
        complain(f"Dagster's runs were left alone: {ending_of(error)[0]}")
    nights = tidy_nights(settings, datetime.now(UTC), dry_run=dry_run) if settings.nights_url else []
    what = "would be removed" if dry_run else "removed"
    lines = [f"{len(result.removed)} files, {result.bytes} bytes {what}"]
    lines += [f"{number} kept: {reason}" for reason, number in result.kept.items()]
    lines += [f"events and logs of {runs} Dagster runs {what}" + (f", {freed} bytes" if freed else "")] if runs else []
    lines += [f"files of {numbered(len(nights), 'night')} that S3 has {what}"] if nights else []
    told = [str(night) for night in nights]
    counts = {"removed": result.removed, "bytes": result.bytes, "kept": result.kept, "runs": runs, "nights": told}
    answer(counts, lines, as_json=as_json)
    raise typer.Exit(status)


witness_commands = typer.Typer(no_args_is_help=True, help="Cosignatures of witnesses on the head of the log (C2SP).")
app.add_typer(witness_commands, name="witness")


Target = Annotated[str | None, typer.Option(help="s3://… or a folder; default: the published place.")]


@witness_commands.command("ask")
@with_servers_of_demo
def witness_ask(
    url: Annotated[str, typer.Argument(help="The witness's submission prefix, before /add-checkpoint.")],
    witness: Witnesses = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Ask a witness to cosign the published head, and publish the cosignature."""
    from custody_pipeline.operations.witnesses import ask, witness_keys

    _witnessed(lambda settings: ask(settings, url, witness_keys(witness or []), target), as_json=as_json)


@witness_commands.command("add")
@with_servers_of_demo
def witness_add(
    file: Annotated[Path, typer.Argument(help="A cosigned checkpoint, or a witness's signature lines.")],
    witness: Witnesses = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Check a cosignature that arrived in another way, and publish it."""
    from custody_pipeline.operations.witnesses import add, witness_keys

    _witnessed(lambda settings: add(settings, file, witness_keys(witness or []), target), as_json=as_json)


def _witnessed(cosign: Callable[[Settings], Checkpoint], *, as_json: bool) -> None:
    """The exit status: only a witness that contradicts the log, and a wrong signature, are findings."""
    from custody_pipeline.evidence.log.cosignatures import WitnessContradictsError
    from custody_pipeline.evidence.log.note import NoteError

    try:
        checkpoint = cosign(settings_of_environment())
    except (NoteError, WitnessContradictsError) as error:
        stop(str(error), FINDINGS)
    except FileNotFoundError as error:
        stop(str(error), INCOMPLETE)
    note = checkpoint.note.data.decode()
    result = {"size": checkpoint.head.size, "root": checkpoint.head.root.hex(), "checkpoint": note}
    answer_whole(result, note, as_json=as_json)
