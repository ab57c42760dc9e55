"""`custody rebuild`: the warehouse anew, from the landing files and the published cuts.

Receipts and landing files are taken from the landing place, and from the cuts where it has them no more.

Belongs here: what is read from where, and comparing the rebuilt nights with what is published. Does not: loading
(load), modelling (models).
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.evidence.cut.manifest import CUT_JSON, decode_cut
from custody_pipeline.evidence.reader import read
from custody_pipeline.extract.documents import document
from custody_pipeline.extract.landing_files import Folder, LandedFile, LandingWriter, content_of, read_lines
from custody_pipeline.extract.receipts import Collectors, Landing
from custody_pipeline.io.objects import listed
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.load.pipeline import load
from custody_pipeline.models.run import prepare, run_models
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.current_copies import publication_of
from custody_pipeline.publish.publication import ADOPTED, record_publication
from custody_pipeline.publish.sealed_landing import landing_path, on_this_machine
from custody_pipeline.publish.tables import describe_table, export_table
from custody_pipeline.warehouse.bookkeeping import append_published_columns
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.content_hash import NO_CONTENT, PUBLISHED_TABLES, night_content_sha256
from custody_pipeline.warehouse.ledger import Actor
from custody_pipeline.warehouse.night_states import mark_nights
from custody_pipeline.warehouse.snapshot import snapshot_for_analysts
from custody_pipeline.warehouse.sql_files import load_models
from custody_pipeline.warehouse.sql_text import table_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb
    from mypy_boto3_s3 import S3Client

    from custody_pipeline.evidence.cut.manifest import Cut, Receipt
    from custody_pipeline.models.mapping import TagMapping
    from custody_pipeline.settings import Settings

_CUTS = "cuts/"
_RECEIPTS = "extraction_receipts"


class _GoneError(Exception):
    """A landing file, named by its URI, is gone."""


class RebuildError(Exception):
    """The warehouse cannot be rebuilt. The message says what to do."""


@dataclass(frozen=True)
class RebuiltNight:
    """What became of one night.

    Attributes:
        loads: how many loads were read again.
        revision: the newest published one; None for a night that was never published.
        differing: tables that differ from that revision. The next run of the night publishes another one.
        lost: landing files that are gone. Their loads are left out; a load that a cut was made from is in the cut.
    """

    night: date
    loads: int
    revision: int | None
    differing: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Cut:
    """A sealed cut and the SHA-256 of its `cut.json`."""

    cut: Cut
    sha256: str


@dataclass
class _Sources:
    """Where documents come from: the landing place and the published one."""

    settings: Settings
    client: S3Client
    place: S3Location
    scratch: Path
    cuts: dict[date, list[_Cut]] = field(default_factory=dict)

    def fetch(self, uri: str, sha256: str, night: date) -> Path:
        """A landing file by its digest, from the landing place or from a cut of its night.

        Raises:
            _GoneError: the file is in neither place, as it was received.
        """
        cuts = [self.place / (one.cut.prefix + landing_path(uri)) for one in self.cuts.get(night, ())]
        for candidate in (uri, *map(str, cuts)):
            with suppress(OSError, ClientError):
                path = on_this_machine(self.client, candidate, self.folder())
                with path.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                        return _named(path, uri)
        raise _GoneError(uri)

    def folder(self) -> Path:
        """A new folder for a copy."""
        return Path(tempfile.mkdtemp(dir=self.scratch))


class _Origin(Folder):
    """A place as receipts name it; nothing is written there."""

    def __init__(self, root: str):
        super().__init__(root)
        self._url = root

    def uri(self, relative: str) -> str:
        return f"{self._url}/{relative}"


def unknown_nights(settings: Settings) -> list[str]:
    """Published nights, of a home that has published none itself: its warehouse was lost, or another home is theirs."""
    if settings.publish_url is None or (settings.warehouse_path.exists() and _has_published(settings)):
        return []
    place, client = S3Location.parse(settings.publish_url), s3_client(settings)
    prefix = f"{place.key}/{_CUTS}" if place.key else _CUTS
    with suppress(BotoCoreError, ClientError):  # the night itself tells that the bucket cannot be read
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix, Delimiter="/")
        found = [folder["Prefix"] for page in pages for folder in page.get("CommonPrefixes", [])]
        return [folder.rstrip("/").rpartition("date=")[2] for folder in found]
    return []


def _has_published(settings: Settings) -> bool:
    with Warehouse(settings).open(read_only=True) as con:
        # A run that was killed may have made the file, and no table in it.
        there = bool(table_columns(con, "raw.publications"))
        return there and con.execute("SELECT 1 FROM raw.publications LIMIT 1").fetchone() is not None


def rebuild(settings: Settings, mapping: TagMapping, say: Callable[[str], None]) -> list[RebuiltNight]:
    """Make the warehouse anew beside its place, then put it there.

    What neither landing files nor cuts hold is lost: fixity checks, alerts that were sent, and acts since the newest
    revision of a night.

    Args:
        settings: the deployment.
        mapping: of the tags, as it is now.
        say: is told of each night.

    Raises:
        RebuildError: there is a warehouse, or a cut lacks a landing file that it states.
        botocore.exceptions.BotoCoreError, ClientError, TargetError: S3 cannot be read.
    """
    if settings.warehouse_path.exists():
        raise RebuildError(f"{settings.warehouse_path} is there: move it away first, a rebuild replaces nothing")
    beside = settings.model_copy(update={"home": settings.home / "rebuild", "landing_url": settings.landing})
    shutil.rmtree(beside.home, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix="custody-rebuild-") as scratch, Warehouse(beside).open() as con:
            place = S3Location.parse(settings.require("publish_url"))
            sources = _Sources(settings, s3_client(settings), place, Path(scratch))
            sources.cuts = cuts_by_night(S3Reader(sources.client, place))
            receipts = _landed_receipts(sources)
            prepare(con)
            found = []
            for night in sorted(receipts.keys() | sources.cuts.keys()):
                say(f"rebuilding the night of {night}")
                found.append(_rebuild_night(con, sources, mapping, night, receipts.get(night, [])))
            mark_nights(con, settings)
        beside.warehouse_path.rename(settings.warehouse_path)
    finally:
        shutil.rmtree(beside.home, ignore_errors=True)
    with Warehouse(settings).open() as con:
        snapshot_for_analysts(con, settings)
    return found


def cuts_by_night(reader: S3Reader) -> dict[date, list[_Cut]]:
    """Every cut by its night, in the order of the revisions."""
    found: dict[date, list[_Cut]] = {}
    for path in sorted(entry.path for entry in reader.list(_CUTS) if entry.path.endswith(f"/{CUT_JSON}")):
        data = read(reader, path)
        cut = decode_cut(data)
        found.setdefault(date.fromisoformat(cut.night), []).append(_Cut(cut, hashlib.sha256(data).hexdigest()))
    return found


def _landed_receipts(sources: _Sources) -> dict[date, list[str]]:
    """The URIs of the receipts' landing files by night, in the order of the loads."""
    landing, found = sources.settings.landing, dict[date, list[str]]()
    if landing.startswith("s3://"):
        root = S3Location.parse(landing)
        uris = [str(root / path) for path, _ in listed(sources.client, root, f"{_RECEIPTS}/")]
    else:
        uris = [str(path) for path in Path(landing, _RECEIPTS).glob("date=*/[!.]*.ndjson.gz")]
    for uri in sorted(uris, key=lambda uri: uri.rsplit("/", 1)[1]):
        found.setdefault(date.fromisoformat(uri.rsplit("/", 2)[1].removeprefix("date=")), []).append(uri)
    return found


def _rebuild_night(
    con: duckdb.DuckDBPyConnection, sources: _Sources, mapping: TagMapping, night: date, receipts: list[str]
) -> RebuiltNight:
    loads: list[tuple[Landing, Path]] = []
    lost: list[str] = []
    for uri in receipts:
        try:
            loads.append(_landing(sources, night, on_this_machine(sources.client, uri, sources.folder()), uri))
        except _GoneError as error:
            lost.append(str(error))
    loads = loads or list(_loads_of_cuts(sources, night))
    load(con, [landing for landing, _ in loads], {landing.landing_id: path for landing, path in loads})
    cuts = sources.cuts.get(night, [])
    for one in cuts:
        _restore_publication(con, sources, night, one)
    if cuts:
        _restore_acts(con, sources, cuts[-1].cut)
    run_models(con, load_models(), night, mapping, sources.settings)
    if not cuts:
        return RebuiltNight(night, len(loads), None, lost=tuple(lost))
    newest = cuts[-1].cut
    differing = differing_tables(con, night, newest)
    append_published_columns(con, night, revision=newest.revision, published_at=_moment(newest.sealed_at))
    if not differing:
        con.execute(
            "UPDATE raw.publications SET content_sha256 = ? WHERE partition_date = ? AND revision = ?",
            [night_content_sha256(con, night), night, newest.revision],
        )
    return RebuiltNight(night, len(loads), newest.revision, differing, tuple(lost))


def _landing(sources: _Sources, night: date, receipt: Path, uri: str) -> tuple[Landing, Path]:
    """A load as its receipt's landing file describes it, with its own files at hand, and the local receipt."""
    (line,) = read_lines(receipt)
    told: dict[str, Any] = orjson.loads(content_of(line))
    landing = Landing(
        resource=told["resource"],
        night=night,
        landing_id=uri.rsplit("/", 1)[1].removesuffix(".ndjson.gz"),
        who=Collectors(**{name: told[name] for name in Collectors.__dataclass_fields__}),
        place=_Origin(uri.rsplit("/", 3)[0]),
        state=told["receipt_state"],
    )
    for named in told["landing_files"]:
        local = sources.fetch(named["uri"], named["sha256"], night)
        is_failure = named["uri"].rsplit("/", 3)[1] == "fetch_failures"
        # Whether a document has line breaks is not in the receipt: any file may hold one.
        landed = LandedFile(named["uri"], local, named["sha256"], named["bytes"], 0, encoded=1)
        (landing.failure_files if is_failure else landing.files).append(landed)
    return landing, _named(receipt, uri)


def _named(path: Path, uri: str) -> Path:
    """The file under the name of its URI: a document's URI is made from it."""
    name = uri.rsplit("/", 1)[1]
    return path if path.name == name else path.rename(path.with_name(name))


def _loads_of_cuts(sources: _Sources, night: date) -> Iterator[tuple[Landing, Path]]:
    """Every load that a cut of the night states, once, with a receipt that is written from it."""
    stated = {(r.resource, r.started_at): (one.cut, r) for one in sources.cuts[night] for r in one.cut.receipts}
    for cut, receipt in sorted(stated.values(), key=lambda item: str(item[1].started_at)):
        landing_id = _landing_id(receipt)
        place = Folder(str(sources.folder()))
        with LandingWriter(place, _RECEIPTS, night, landing_id) as writer:
            content = orjson.dumps(_as_landed(sources, cut, receipt))
            writer.add({}, f"custody:{receipt.resource}", _moment(receipt.finished_at), document(content))
        uri = f"{sources.settings.landing}/{_RECEIPTS}/date={night}/{landing_id}.ndjson.gz"
        try:
            yield _landing(sources, night, writer.files[0].local, uri)
        except _GoneError as error:
            raise RebuildError(f"{sources.place / cut.prefix} lacks {error}, which it states; restore it") from error


def _landing_id(receipt: Receipt) -> str:
    if receipt.landing:
        name = receipt.landing[0].rsplit("/", 1)[1].removesuffix(".ndjson.gz")
        return "-".join(name.split("-")[:2])  # without the number of the part
    return f"{_moment(receipt.started_at):%Y%m%dT%H%M%S%f}Z-{'0' * 8}"


def _as_landed(sources: _Sources, cut: Cut, receipt: Receipt) -> dict[str, Any]:
    """A receipt as it landed, from what a cut states."""
    told = msgspec.structs.asdict(receipt)
    told["receipt_state"] = told.pop("state")
    for name in ("started_at", "finished_at", "data_available_until"):
        told[name] = told[name] and told[name].removesuffix("Z")
    files = [file for path in told.pop("landing") if (file := cut.file(path))]
    root = sources.settings.landing
    return {
        **told,
        "landing_files": [
            {"uri": f"{root}/{_relative(file.path, cut.night)}", "sha256": file.sha256, "bytes": file.bytes}
            for file in files
        ],
        "collector": cut.collector,
        "organization_id": cut.organization_id,
        "operator": cut.operator,
        "tool_version": cut.tool_version,
        "git_revision": cut.git_revision,
    }


def _relative(path: str, night: str) -> str:
    """`landing/<resource>/<name>` → `<resource>/date=…/<name>`."""
    _, resource, name = path.split("/")
    return f"{resource}/date={night}/{name}"


def _moment(text: str | None) -> datetime:
    return datetime.fromisoformat(text or "1970-01-01T00:00:00Z").astimezone(UTC).replace(tzinfo=None)


def _restore_publication(con: duckdb.DuckDBPyConnection, sources: _Sources, night: date, one: _Cut) -> None:
    cut = one.cut
    publication = publication_of(cut, one.sha256, ADOPTED, sources.place, night, PUBLISHED_TABLES)
    actor = Actor(cut.operator, cut.tool_version, cut.git_revision)
    record_publication(con, publication, actor, _moment(cut.sealed_at))
    con.execute(
        "INSERT INTO raw.row_versions BY NAME SELECT partition_date, conversation_id, recording_id, row_sha256, "
        "revision FROM read_parquet(?) WHERE revision = ?",
        [str(_table_of(sources, cut, "chain_of_custody")), cut.revision],
    )


def _restore_acts(con: duckdb.DuckDBPyConnection, sources: _Sources, newest: Cut) -> None:
    con.execute(
        f"""
        INSERT INTO raw.acts BY NAME
        SELECT partition_date, conversation_id, recording_id, occurred_at::TIMESTAMP AS occurred_at, action, operator,
            what, where_at, why, how, tool_version, git_revision, sha256_before, sha256_after
        FROM read_parquet(?)
        WHERE action IN {(*NO_CONTENT, "packaged")} AND action <> 'published'
            AND (action <> 'exception' OR what = 'run was killed' OR what SIMILAR TO 'step .* failed')
        """,
        [str(_table_of(sources, newest, "custody_events"))],
    )


def _table_of(sources: _Sources, cut: Cut, table: str) -> Path:
    """A local copy of a cut's Parquet file."""
    return on_this_machine(sources.client, str(sources.place / f"{cut.prefix}data/{table}.parquet"), sources.folder())


def differing_tables(con: duckdb.DuckDBPyConnection, night: date, cut: Cut) -> tuple[str, ...]:
    """Tables whose Parquet would have other bytes than the cut's. Events say when they were looked at: not compared."""
    models, differing = load_models(), []
    for name in PUBLISHED_TABLES:
        sealed = cut.file(f"data/{name}.parquet")
        if name == "custody_events" or sealed is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            table = describe_table(con, name, models[f"custody.{name}"].grain)
            files = export_table(con, table, night, Path(folder), revision=cut.revision)
            if sealed.sha256 not in {file.sha256 for file in files}:
                differing.append(name)
    return tuple(differing)
