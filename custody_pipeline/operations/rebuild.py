"""`custody rebuild`: a new warehouse from the landing files and the published cuts.

Receipts and landing files are read from the landing place, or from the cuts if the landing place no longer has them.

Belongs here: what is read from where, and comparing the rebuilt nights with the published nights. Does not: loading
(load), modelling (models).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import orjson
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.evidence.cut.manifest import RECORDS, TABLE, Cut, Receipt, cut_prefix, read_file
from custody_pipeline.evidence.cut.removal import STATEMENT, decode_statement, remains_path
from custody_pipeline.extract.documents import document
from custody_pipeline.extract.landing_files import RECEIPTS, Folder, LandingWriter
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.io.objects import folders_below
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.io.whole_file import sha256_of
from custody_pipeline.load.pipeline import load
from custody_pipeline.models.mapping import TagMapping
from custody_pipeline.models.run import materialize, prepare, run_models
from custody_pipeline.operations.verification import public_keys
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.current_copies import publication_of
from custody_pipeline.publish.landed import (
    CUTS,
    GoneError,
    SealedCut,
    Sources,
    cuts_by_night,
    landed_receipts,
    landing_at,
    under_its_name,
)
from custody_pipeline.publish.publication import ADOPTED, record_publication
from custody_pipeline.publish.sealed_landing import on_this_machine
from custody_pipeline.publish.tables import describe_table, export_table
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.bookkeeping import append_published_columns
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.content_hash import NO_CONTENT, PUBLISHED_TABLES, night_content_sha256
from custody_pipeline.warehouse.erasures import (
    Request,
    Tombstone,
    keep_request,
    requests_of,
    with_shared,
    write_erasures,
)
from custody_pipeline.warehouse.ledger import Actor
from custody_pipeline.warehouse.night_states import mark_nights
from custody_pipeline.warehouse.snapshot import log_beside, snapshot_for_analysts
from custody_pipeline.warehouse.sql_files import SqlModel, load_models, query
from custody_pipeline.warehouse.sql_text import literal, table_columns

_WITHOUT_ROWS = frozenset({"failed", "not_configured"})


class RebuildError(Exception):
    """The warehouse cannot be rebuilt. The message says what to do."""


@dataclass(frozen=True)
class RebuiltNight:
    """The result of one night.

    Attributes:
        revision: the newest published revision; None for a night that was never published.
        differing: tables that differ from that revision. The next run of the night publishes another one.
        lost: landing files that are gone. Their loads are left out; a load that a cut was made from is in the cut.
    """

    night: date
    loads: int
    revision: int | None
    differing: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def unknown_nights(settings: Settings) -> list[str]:
    """The published nights, if this home has published none: its warehouse was lost, or they are another home's."""
    if (
        settings.publish_url is None
        or settings.nights_url
        or (settings.warehouse_path.exists() and _has_published(settings))
    ):
        return []
    place, client = S3Location.parse(settings.publish_url), s3_client(settings)
    with suppress(BotoCoreError, ClientError):  # the night itself reports that the bucket cannot be read
        found = folders_below(client, place.bucket, place.folder + CUTS)
        return [folder.rstrip("/").rpartition("date=")[2] for folder in found]
    return []


def _has_published(settings: Settings) -> bool:
    with Warehouse(settings).open(read_only=True) as con:
        # A killed run may have made the file without any table in it.
        there = bool(table_columns(con, "raw.publications"))
        return there and con.execute("SELECT 1 FROM raw.publications LIMIT 1").fetchone() is not None


def rebuild(settings: Settings, mapping: TagMapping, say: Callable[[str], None]) -> list[RebuiltNight]:
    """Make a new warehouse beside its place, then move it there.

    Data that neither landing files nor cuts hold are lost: fixity checks, sent alerts, and acts since the newest
    revision of a night.

    Args:
        say: gets a message for each night.

    Raises:
        WarehouseBusyError: a run has the warehouse.
        RebuildError: there is a warehouse, or a cut lacks a landing file that it states, or has an altered table.
        CutAlteredError: a statement of an erasure is altered.
        botocore.exceptions.BotoCoreError, ClientError, TargetError: S3 cannot be read.
    """
    # A run that begins meanwhile would make a warehouse of its own, and lose it at the end of the rebuild.
    with Warehouse(settings).locked():
        for path in (settings.warehouse_path, log_beside(settings.warehouse_path)):
            if path.exists():
                raise RebuildError(f"{path} is there: move it away first, a rebuild replaces nothing")
        found = _rebuilt(settings, mapping, say)
    with Warehouse(settings).open() as con:
        snapshot_for_analysts(con, settings)
    return found


def _rebuilt(settings: Settings, mapping: TagMapping, say: Callable[[str], None]) -> list[RebuiltNight]:
    beside = settings.model_copy(update={"home": settings.home / "rebuild", "landing_url": settings.landing})
    shutil.rmtree(beside.home, ignore_errors=True)
    try:
        with Warehouse(beside).open() as con:
            place = S3Location.parse(settings.require("publish_url"))
            # Beside the warehouse, as the system's temporary folder may be in memory.
            sources = Sources(settings, s3_client(settings), place, beside.home)
            sources.cuts = cuts_by_night(S3Reader(sources.client, place), public_keys(settings, []))
            for one in (one for cuts in sources.cuts.values() for one in cuts):
                _restore_request(sources, one.cut, say)
            receipts = landed_receipts(sources)
            prepare(con)
            write_erasures(con, settings)
            loaded = {}
            for night in sorted(receipts.keys() | sources.cuts.keys()):
                say(f"loading the night of {night}")
                loaded[night] = _load_night(con, sources, night, receipts.get(night, []))
                for _ in materialize(con, _placing_models(), night, mapping, settings):
                    pass
            found = []
            for night, (loads, lost) in loaded.items():
                say(f"rebuilding the night of {night}")
                revision, differing = _model_night(con, sources, mapping, night)
                found.append(RebuiltNight(night, loads, revision, differing, lost))
            mark_nights(con, settings)
            for request in requests_of(settings):
                keep_request(settings, with_shared(con, request))
        beside.warehouse_path.rename(settings.warehouse_path)
    finally:
        shutil.rmtree(beside.home, ignore_errors=True)
    return found


def _placing_models() -> list[SqlModel]:
    """What places ids in a night: a night leaves out recordings that a list of it names and a later night has."""
    models, wanted = load_models(), ["staging.placed_ids"]
    for key in wanted:
        wanted += [table for table in models[key].depends_on if table.startswith("staging.") and table in models]
    return [model for key, model in models.items() if key in wanted]


def _load_night(
    con: duckdb.DuckDBPyConnection, sources: Sources, night: date, receipts: list[str]
) -> tuple[int, tuple[str, ...]]:
    """Load a night, its publications and its acts. Returns the number of loads, and the landing files that are gone."""
    loads: list[tuple[Landing, Path]] = []
    lost: list[str] = []
    for uri in receipts:
        try:
            loads.append(landing_at(sources, night, on_this_machine(sources.client, uri, sources.folder()), uri))
        except GoneError as error:
            lost.append(str(error))
    loads = loads or list(_loads_of_cuts(sources, night))
    load(con, [landing for landing, _ in loads], {landing.landing_id: path for landing, path in loads})
    cuts = sources.cuts.get(night, [])
    for one in cuts:
        _restore_publication(con, sources, night, one)
    if cuts:
        _restore_acts(con, sources, cuts[-1].cut)
    return len(loads), tuple(lost)


def _model_night(
    con: duckdb.DuckDBPyConnection, sources: Sources, mapping: TagMapping, night: date
) -> tuple[int | None, tuple[str, ...]]:
    """Model a night. Returns its newest revision, and the tables that differ from it."""
    run_models(con, load_models(), night, mapping, sources.settings)
    if not (cuts := sources.cuts.get(night, [])):
        return None, ()
    newest = cuts[-1].cut
    differing = differing_tables(con, night, newest, lambda path: _sealed_file(sources, newest, path))
    append_published_columns(con, night, revision=newest.revision, published_at=_moment(newest.sealed_at))
    if not differing:
        con.execute(
            "UPDATE raw.publications SET content_sha256 = ? WHERE partition_date = ? AND revision = ?",
            [night_content_sha256(con, night), night, newest.revision],
        )
    return newest.revision, differing


def _loads_of_cuts(sources: Sources, night: date) -> Iterator[tuple[Landing, Path]]:
    """Every load that a cut of the night states, once, with a receipt that is written from it.

    The loads are in the order of the revisions that first state them, which no clock decides. A revision states two
    loads of one resource if the newer one failed.
    """
    stated: dict[tuple[str, str | None], tuple[Cut, Receipt]] = {}
    for one in sources.cuts[night]:
        for receipt in sorted(one.cut.receipts, key=lambda receipt: receipt.state in _WITHOUT_ROWS):
            stated[receipt.resource, receipt.started_at] = (one.cut, receipt)
    for sequence, (cut, receipt) in enumerate(stated.values(), start=1):
        landing_id = _landing_id(receipt)
        place = Folder(str(sources.folder()))
        with LandingWriter(place, RECEIPTS, night, landing_id) as writer:
            content = orjson.dumps(_as_landed(sources, cut, receipt) | {"sequence": sequence})
            writer.add({}, f"custody:{receipt.resource}", _moment(receipt.finished_at), document(content))
        uri = f"{sources.settings.landing}/{RECEIPTS}/date={night}/{landing_id}.ndjson.gz"
        try:
            yield landing_at(sources, night, writer.files[0].local, uri)
        except GoneError as error:
            if sources.is_forgotten(night) or any(one.cut.file(STATEMENT) for one in sources.cuts[night]):
                continue  # its key was forgotten, or part of an earlier revision was erased
            raise RebuildError(f"{sources.place / cut.prefix} lacks {error}, which it states; restore it") from error


def _landing_id(receipt: Receipt) -> str:
    if receipt.landing:
        name = receipt.landing[0].rsplit("/", 1)[1].removesuffix(".ndjson.gz")
        return "-".join(name.split("-")[:2])  # without the number of the part
    return f"{_moment(receipt.started_at):%Y%m%dT%H%M%S%f}Z-{'0' * 8}"


def _as_landed(sources: Sources, cut: Cut, receipt: Receipt) -> dict[str, Any]:
    """A receipt in the form of its landing file, from a cut's receipt."""
    told = msgspec.structs.asdict(receipt)
    told["receipt_state"] = told.pop("state")
    for name in ("started_at", "finished_at", "data_available_until"):
        told[name] = told[name] and told[name].removesuffix("Z")
    files = [file for path in told.pop("landing") if (file := cut.file(path))]
    # `landing/<resource>/<name>` → `<resource>/date=…/<name>`
    uris = [f"{sources.settings.landing}/{file.path.split('/')[1]}/date={cut.night}/{Path(file.path).name}"
            for file in files]  # fmt: skip
    return {
        **told,
        "landing_files": [
            {"uri": uri, "sha256": file.sha256, "bytes": file.bytes} for uri, file in zip(uris, files, strict=True)
        ],
        "collector": cut.collector,
        "organization_id": cut.organization_id,
        "operator": cut.operator,
        "tool_version": cut.tool_version,
        "git_revision": cut.git_revision,
    }


def _moment(text: str | None) -> datetime:
    return datetime.fromisoformat(text or "1970-01-01T00:00:00Z").astimezone(UTC).replace(tzinfo=None)


def _restore_publication(con: duckdb.DuckDBPyConnection, sources: Sources, night: date, one: SealedCut) -> None:
    cut = one.cut
    publication = publication_of(cut, one.sha256, ADOPTED, sources.place, night, PUBLISHED_TABLES)
    actor = Actor(cut.operator, cut.tool_version, cut.git_revision)
    record_publication(con, publication, actor, _moment(cut.sealed_at))
    rows, reader = _rows_of(sources, night, cut), "read_parquet(?, hive_partitioning = false)"
    if rows.suffix == ".ndjson":
        columns = "partition_date: 'DATE', conversation_id: 'VARCHAR', recording_id: 'VARCHAR', row_sha256: 'VARCHAR'"
        reader = (
            "read_json(?, format = 'newline_delimited', hive_partitioning = false, "
            f"columns = {{{columns}, revision: 'INTEGER'}})"
        )
    con.execute(
        "INSERT INTO raw.row_versions BY NAME SELECT partition_date, conversation_id, recording_id, row_sha256, "
        f"revision FROM {reader} WHERE revision = ?",
        [str(rows), cut.revision],
    )


def _rows_of(sources: Sources, night: date, cut: Cut) -> Path:
    """A local copy of a cut's table, or of its remaining records if part of it was erased."""
    kept = remains_path(cut.revision, RECORDS)
    with suppress(ClientError):
        return _sealed_file(sources, cut, TABLE)
    for holder in (one.cut for one in reversed(sources.cuts[night]) if one.cut.file(kept)):
        with suppress(ClientError):
            return under_its_name(_sealed_file(sources, holder, kept), kept)
    raise RebuildError(f"{sources.place / cut.prefix} lacks its table, and no later revision keeps what remains of it")


def _restore_request(sources: Sources, cut: Cut, say: Callable[[str], None]) -> None:
    """Keep a request for erasure that a cut states, so that its conversations are not collected again.

    The home may have been lost before it had removed what the statement names: the request is only begun then.
    """
    reader = S3Reader(sources.client, sources.place)
    stated = read_file(reader, cut, STATEMENT)
    if stated is None:
        return
    told = decode_statement(stated)
    there = {entry.path for entry in reader.list(f"{CUTS}date={told.night}/")}
    left = [file for file in told.files if cut_prefix(told.night, file.revision) + file.path in there]
    if left:
        say(f"{len(left)} files of {told.night} that were to be erased are still there: custody erase --resume")
    known = next((request for request in requests_of(sources.settings) if request.id == told.id), None)
    rows = {Tombstone(told.night, item.conversation_id, item.recording_id) for item in told.recordings}
    request = Request(
        id=told.id,
        asked_at=told.asked_at,
        operator=told.operator,
        reason=told.reason,
        authority=told.authority,
        selected_by=told.selected_by,
        conversations=told.conversations,
        recordings=tuple(sorted({*(known.recordings if known else ()), *rows})),
        nights=tuple(sorted({*(known.nights if known else ()), told.night})),
        state="begun" if left else known.state if known else "done",
        cleared=True,
        sealed={**(known.sealed if known else {}), told.night: cut.revision},
    )
    keep_request(sources.settings, request)


def _restore_acts(con: duckdb.DuckDBPyConnection, sources: Sources, newest: Cut) -> None:
    path = str(_sealed_file(sources, newest, "data/custody_events.parquet"))
    actions = [*{*NO_CONTENT} - {"published"}, "erased", "held", "packaged", "released"]
    con.execute(f"INSERT INTO raw.acts BY NAME {query('ledger/acts_in_events')}", {"path": path, "actions": actions})


def _sealed_file(sources: Sources, cut: Cut, path: str) -> Path:
    """A local copy of a file of a cut."""
    at, sealed = sources.place / f"{cut.prefix}{path}", cut.file(path)
    found = on_this_machine(sources.client, str(at), sources.folder())
    if sealed is None or sha256_of(found) != sealed.sha256:
        raise RebuildError(f"{at} is not the file that was sealed; restore its version")
    return found


def differing_tables(
    con: duckdb.DuckDBPyConnection, night: date, cut: Cut, read: Callable[[str], Path]
) -> tuple[str, ...]:
    """Tables whose rows differ from the cut's. Events are not compared: they include later acts.

    Another version describes the columns in other words, so files with other bytes may have the same rows.

    Args:
        read: gives a local copy of a file of the cut.
    """
    models, differing = load_models(), []
    for name in PUBLISHED_TABLES:
        sealed = cut.file(f"data/{name}.parquet")
        if name == "custody_events" or sealed is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            table = describe_table(con, name, models[f"custody.{name}"].grain)
            files = export_table(con, table, night, Path(folder), revision=cut.revision)
            (ours,) = [file for file in files if file.format == "parquet"]
            if ours.sha256 != sealed.sha256 and not _same_rows(con, ours.path, read(sealed.path)):
                differing.append(name)
    return tuple(differing)


def _same_rows(con: duckdb.DuckDBPyConnection, *paths: Path) -> bool:
    one, other = [f"FROM read_parquet({literal(str(path))}, hive_partitioning = false)" for path in paths]
    shapes = [
        con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {rows})").fetchall() for rows in (one, other)
    ]
    differing = f"({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one}) LIMIT 1"
    return shapes[0] == shapes[1] and con.execute(differing).fetchone() is None
