"""`custody …`: results on stdout, progress and logs on stderr, one exit status for each kind of ending.

Belongs here: arguments, printing, exit statuses. Does not: work (commands, and what they call). Imports are inside the
commands, so that `custody --help` answers at once.

Exit status: 0 all well · 1 findings · 2 could not do everything · 64 the command line or a setting is wrong.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from custody_pipeline.evidence.log.checkpoint import Checkpoint
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


def _print_version(asked: bool) -> None:
    if asked:
        from custody_pipeline.distribution import git_revision, version

        print(f"custody {version()} (commit {git_revision() or 'unknown'})")  # noqa: T201
        raise typer.Exit(OK)


@app.callback()
def _custody(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and commit.")
    ] = False,
) -> None:
    pass


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Night = Annotated[datetime, typer.Option("--date", formats=["%Y-%m-%d"], help="The night: a UTC day.")]
Profiled = Annotated[bool, typer.Option("--profile", help="Show and keep where the night's seconds went.")]
Home = Annotated[Path, typer.Option("--home", envvar="CUSTODY_HOME", help="Where everything of this deployment lies.")]


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    # A polite stop unwinds like Ctrl-C does, so that the servers which a command started end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = app(standalone_mode=False)
    except _UsageError as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(USAGE)
    except typer.Abort:
        _stop("stopped", INCOMPLETE)
    except KeyboardInterrupt:
        _stop("stopped", 130)
    except Exception as error:
        # Imported only now: the settings take longer to import than `--help` to be answered.
        from custody_pipeline.settings import SettingsError
        from custody_pipeline.simulator.local_s3 import LocalS3Error

        if isinstance(error, LocalS3Error):
            _stop(str(error), INCOMPLETE)
        if not isinstance(error, SettingsError):
            raise
        _stop(str(error), USAGE)
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


@contextmanager
def _bars() -> Iterator[None]:
    """Progress bars on stderr for what reports its progress; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from custody_pipeline.io.progress import listening

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (TextColumn("  {task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as bars:

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what.replace("_", " "), total=total)
            bars.update(tasks[what], completed=done, total=total)

        with listening(show):
            yield


@app.command()
def demo(
    home: Home = Path(".custody"),
    night: Night = datetime(2026, 11, 2),
    size: Annotated[int, typer.Option(min=1, help="Conversations of the night.")] = 400,
    seed: Annotated[int, typer.Option(help="Which organisation is simulated.")] = 7,
    profile: Profiled = False,
    as_json: Json = False,
) -> None:
    """One night of a simulated organisation, from nothing to the published dataset. Needs no account and no network."""
    from custody_pipeline.cli.demo_page import print_demo
    from custody_pipeline.simulator.demo import DemoOrganization, run_demo

    with _bars():
        result = run_demo(home.absolute(), DemoOrganization(night.date(), size, seed), _say, profile=profile)
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
    profile: Profiled = False,
) -> None:
    """Collect, join, explain, check and publish one night, in this process, recorded for the Dagster page."""
    from custody_pipeline.cli.summary_page import print_summary
    from custody_pipeline.defs.one_night import run_one_night

    settings = _settings()
    with _bars():
        outcome = run_one_night(settings, night.date(), verbose=verbose, profile=profile, say=_say)
    if as_json:
        _print_json(outcome.to_dict())
    elif outcome.summary is not None:
        print_summary(_console(), outcome.summary)
    if outcome.profile is not None and not as_json:
        print(f"\n{outcome.profile.table()}\n\n  kept as {outcome.profile_path}")  # noqa: T201
    for problem in outcome.problems:
        print(problem, file=sys.stderr)  # noqa: T201
    raise typer.Exit(outcome.status)


@app.command()
def status(as_json: Json = False) -> None:
    """Every night of the warehouse: its state, its revision, what is missing."""
    from custody_pipeline.cli.nights_page import print_nights
    from custody_pipeline.operations.night_states import nights

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
    from custody_pipeline.cli.story import print_story
    from custody_pipeline.operations.explain import explain

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
    from custody_pipeline.models.reasons import BY_CODE
    from custody_pipeline.operations.explain import gaps as find_gaps

    if reason is not None and reason not in BY_CODE:
        raise typer.BadParameter(f"no such reason: {reason}; there are {', '.join(BY_CODE)}")
    names, rows = find_gaps(_settings(), night.date() if night else None, reason)
    if as_json:
        _print_json(rows)
    elif as_csv:
        import csv

        writer = csv.DictWriter(sys.stdout, names)
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

    from custody_pipeline.cli.mapping_page import print_report
    from custody_pipeline.models.mapping import load_mapping
    from custody_pipeline.models.mapping_report import mapping_report
    from custody_pipeline.warehouse.connection import Warehouse

    settings = _settings()
    load_mapping(settings.mapping_path)
    with Warehouse(settings).open(read_only=True) as con:
        report = mapping_report(con, night.date())
    if as_json:
        _print_json(asdict(report))
    else:
        print_report(_console(), report)


@mapping_commands.command("suggest")
def mapping_suggest() -> None:
    """Draft a mapping from the tags that the collected nights hold."""
    from custody_pipeline.models.mapping_report import suggest_mapping
    from custody_pipeline.warehouse.connection import Warehouse

    with Warehouse(_settings()).open(read_only=True) as con:
        sys.stdout.write(suggest_mapping(con))


@app.command()
def doctor(
    probe_lock: Annotated[
        bool, typer.Option("--probe-lock", help="Try the lock on a tiny object below probe/ of CUSTODY_PUBLISH_URL.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Try everything that a night needs: settings, login, permissions, divisions, buckets, lock, clock, mapping."""
    from custody_pipeline.operations.doctor import examine

    lines = []
    console = _console()
    colours = {"ok": "green", "not ok": "red", "warning": "yellow", "not configured": "yellow"}
    for line in examine(probe=probe_lock):
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
    from custody_pipeline.simulator.serve import serve_simulator

    serve_simulator(
        port,
        night.date(),
        size,
        seed,
        export_url=export_url,
        key_file=answer_key,
        until_stdin_closes=until_stdin_closes,
    )


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

    settings = _settings()
    place = target or default_target(settings)
    with _bars():
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
        _say(f"this verification left no custody event: {error}")
    if as_json:
        _print_json(report.as_dict())
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

    with _bars():
        report = run_fixity(_settings(), budget)
    if as_json:
        _print_json(report.to_dict())
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

    settings = _settings()
    try:
        for path in write_proofs(settings, target or default_target(settings), recording_id, keys or [], output):
            print(path)  # noqa: T201
    except RecordNotFoundError as error:
        _stop(str(error), FINDINGS)


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
    settings = _settings()
    try:
        with _bars():
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
        _stop(str(error), FINDINGS)
    if as_json:
        _print_json(result)
    else:
        print(f"{result['folder']}: {result['recordings']} recordings, {result['files']} files")  # noqa: T201
        print(f"sha256 of manifest-sha256.txt: {result['sha256']}")  # noqa: T201
        for kind, number in result["without"].items():
            print(f"without {kind}: {number}; data/missing.json says which, and why")  # noqa: T201
    if result["lost"]:
        _say(f"{result['lost']} files were sealed and could not be had: data/missing.json says what came back")
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

    settings = _settings()
    with Warehouse(settings).open(read_only=True) as con:
        result = tidy_landing(con, settings, public_keys(settings, []), dry_run=dry_run)
    if as_json:
        _print_json(asdict(result))
    else:
        what = "would be removed" if dry_run else "removed"
        print(f"{len(result.removed)} files, {result.bytes} bytes {what}")  # noqa: T201
        for reason, number in result.kept.items():
            print(f"{number} kept: {reason}")  # noqa: T201


key_commands = typer.Typer(no_args_is_help=True, help="Keys that sign the log.")
app.add_typer(key_commands, name="key")


@key_commands.command("new")
def key_new(
    name: Annotated[str, typer.Argument(help="The log's name, for example custody.example.com/eu.")],
    path: Annotated[Path, typer.Argument(help="Where to write the private key; the public one goes beside it.")],
) -> None:
    """Make an Ed25519 key pair; point CUSTODY_SIGNING_KEY_FILE at it."""
    from custody_pipeline.evidence.log.keys import new_key, write_new_key

    try:
        public = write_new_key(path, new_key(name))
    except (OSError, ValueError) as error:
        _stop(f"{path}: {error}", USAGE)
    print(public)  # noqa: T201


@key_commands.command("show")
def key_show() -> None:
    """Print the public keys that sign now, to hand over: a file for `custody verify --key`."""
    from custody_pipeline.evidence.log.keys import SigningKeyError
    from custody_pipeline.publish.sealing import signing_verifiers
    from custody_pipeline.settings.signing import load_seal_settings

    try:
        found = signing_verifiers(_settings(), load_seal_settings())
    except SigningKeyError as error:
        _stop(str(error), INCOMPLETE)
    if not found:
        _stop("no key signs yet: make one with custody key new, and set CUSTODY_SIGNING_KEY_FILE", INCOMPLETE)
    for key in found:
        print(f"# sha256:{key.fingerprint}\n{key.vkey}")  # noqa: T201


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
    from custody_pipeline.evidence.reader import TargetError
    from custody_pipeline.publish.sealer import SealingError
    from custody_pipeline.publish.uploads import UploadError

    try:
        checkpoint = cosign(_settings())
    except (NoteError, WitnessError) as error:
        _stop(str(error), FINDINGS)
    except (FileNotFoundError, TargetError, SealingError, UploadError) as error:
        _stop(str(error), INCOMPLETE)
    sys.stdout.write(checkpoint.note.data.decode())


flow_commands = typer.Typer(no_args_is_help=True, help="Architect flows against the tag mapping.")
app.add_typer(flow_commands, name="flow")


@flow_commands.command("check")
def flow_check(
    subject: Annotated[str, typer.Argument(metavar="FILE|FLOW_ID", help="An exported flow (YAML), or a flow's id.")],
    as_json: Json = False,
) -> None:
    """Which mapped tags are not put into participant data before a path of the flow ends."""
    from custody_pipeline.extract.genesys import GenesysClient, GenesysError
    from custody_pipeline.flows.check import check_flow
    from custody_pipeline.flows.document import FlowError, read_flow
    from custody_pipeline.flows.export import export_flow, is_flow_id
    from custody_pipeline.flows.report import render
    from custody_pipeline.models.mapping import load_mapping

    settings = _settings()
    try:
        if is_flow_id(subject) and not Path(subject).exists():
            settings.require("genesys_domain", "mypurecloud.com")
            with GenesysClient(settings) as client:
                document = export_flow(client, subject, api_url=settings.api_url)
        else:
            document = read_flow(Path(subject))
        report = check_flow(document, load_mapping(settings.mapping_path).columns)
    except (FlowError, GenesysError, OSError) as error:
        _stop(str(error), INCOMPLETE)
    if as_json:
        _print_json(report.to_dict())
    else:
        sys.stdout.write(render(report))
    raise typer.Exit(report.exit_status)


@app.command("serve-webhook")
def serve_webhook(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 lets the system choose.")] = 8787,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).")] = None,
    private_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    until_stdin_closes: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Receive signed events; each is answered with 202 only when it is durable."""
    from custody_pipeline.capture.assembly import queue_of
    from custody_pipeline.capture.receiver import serve
    from custody_pipeline.settings.capture import load_capture_settings

    capture = load_capture_settings()
    if until_stdin_closes:
        _end_when_stdin_closes()
    with queue_of(_settings(), capture) as queue:
        serve(
            capture,
            queue,
            host=host,
            port=port,
            certificate=str(certificate) if certificate else None,
            private_key=str(private_key) if private_key else None,
            on_ready=_say,
        )


def _end_when_stdin_closes() -> None:
    """So that a server ends with whoever started it, however that one ended."""
    import os
    import threading

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


event_commands = typer.Typer(no_args_is_help=True, help="Captured events and their queue.")
app.add_typer(event_commands, name="events")


@event_commands.command("drain")
def events_drain(
    seconds: Annotated[float, typer.Option(min=1, help="No conversation is begun after that.")] = 60,
    as_json: Json = False,
) -> None:
    """Read the conversations that waiting events name, and keep what they show."""
    from dataclasses import asdict

    from custody_pipeline.capture.assembly import drain_queue
    from custody_pipeline.settings.capture import load_capture_settings

    result = asdict(drain_queue(_settings(), load_capture_settings(), max_seconds=seconds))
    if as_json:
        _print_json(result)
    else:
        report, queue = result["report"], result["queue"]
        print(f"{report['events']} events, {report['captures']} captures; {queue['depth']} still waiting")  # noqa: T201


@event_commands.command("retry")
def events_retry(limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None) -> None:
    """Put dead letters back into the queue, oldest first."""
    from custody_pipeline.capture.assembly import retry_dead_letters
    from custody_pipeline.settings.capture import load_capture_settings

    print(f"{retry_dead_letters(_settings(), load_capture_settings(), limit=limit)} events")  # noqa: T201


class TriggerAction(StrEnum):
    """What `custody triggers` does."""

    plan = "plan"
    install = "install"
    remove = "remove"


@app.command()
def triggers(
    action: Annotated[TriggerAction, typer.Argument(help="plan shows what install would change.")],
    url: Annotated[str | None, typer.Option(help="Public https:// URL of serve-webhook.")] = None,
    definitions: Annotated[Path | None, typer.Option(help="Folder for the definitions to import.")] = None,
) -> None:
    """The process-automation triggers of live capture, and the definitions to import."""
    from custody_pipeline.capture import installation
    from custody_pipeline.extract.genesys import GenesysClient, GenesysError
    from custody_pipeline.settings.capture import load_capture_settings

    settings, capture = _settings(), load_capture_settings()
    settings.require("genesys_domain", "mypurecloud.com")
    try:
        if definitions is not None and url is not None:
            for relative, text in installation.definitions(url).items():
                path = definitions / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                print(path)  # noqa: T201
        with GenesysClient(settings) as client:
            if action is TriggerAction.remove:
                changes = installation.remove(client)
            elif capture.trigger_workflow_id is None:
                _stop("CUSTODY_TRIGGER_WORKFLOW_ID is not set: the workflow that the triggers start", USAGE)
            else:
                run = installation.plan if action is TriggerAction.plan else installation.install
                changes = run(client, capture.trigger_workflow_id)
    except (GenesysError, ValueError) as error:
        _stop(str(error), INCOMPLETE)
    for change in changes:
        print(change)  # noqa: T201


@app.command()
def ui(
    home: Home = Path(".custody"),
    port: Annotated[int, typer.Option(help="Port of the page on 127.0.0.1.")] = 3000,
) -> None:
    """Dagster's page on 127.0.0.1. Without CUSTODY_EXPORT_URL it runs beside the demo's organisation and S3 server."""
    from custody_pipeline.cli.ui import serve_ui

    raise typer.Exit(serve_ui(home.absolute(), port, _say))


@app.command()
def dictionary() -> None:
    """The data dictionary, from the headers of the SQL files and the tag mapping."""
    from custody_pipeline.models.dictionary import data_dictionary
    from custody_pipeline.models.mapping import load_mapping
    from custody_pipeline.settings import Settings
    from custody_pipeline.warehouse.sql_files import load_models

    sys.stdout.write(data_dictionary(load_models(), load_mapping(Settings.model_fields["mapping_path"].default)))
