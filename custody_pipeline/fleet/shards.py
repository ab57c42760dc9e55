"""A night's warehouse between two runs: an object on S3, which one worker after the other checks out and in.

A worker remembers the object's ETag. It puts the object back on the condition (`If-Match`) that no other worker did so
meanwhile. Only the raw part is moved: the models compute everything else from it. The documents that a killed worker
collected are not in the object, but their landing files and receipts are on S3: the next worker loads them.

While a night runs, its file stays on this worker, without requests to S3 (`dirty`). A run checks in before it
publishes, so that the second of two workers with one night stops before it seals anything, and again afterwards.

Belongs here: checking out, checking in, and adding what happened meanwhile. Does not: the objects (night_objects.py),
what nights share (shared_rows.py).
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
from botocore.exceptions import ClientError

from custody_pipeline.fleet.night_objects import Nights, ShardError, explained
from custody_pipeline.fleet.shared_rows import ALERTS_OF_NIGHT, NEAR, SHARED, take_over, write_shared
from custody_pipeline.io.objects import CHANGED, PARTIAL, digest, error_code, fetch, head, put_file
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.io.whole_file import DamagedFileError, read_json, sha256_of, write_whole
from custody_pipeline.load.pipeline import load
from custody_pipeline.load.raw_tables import all_raw_tables
from custody_pipeline.models.run import prepare
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.landed import GoneError, Sources, cuts_by_night, landed_receipts, landing_at
from custody_pipeline.publish.sealed_landing import on_this_machine
from custody_pipeline.publish.sealing import signing_verifiers
from custody_pipeline.warehouse.connection import LOCK_TIMEOUT_SECONDS, STORAGE_VERSION, Warehouse, WarehouseBusyError
from custody_pipeline.warehouse.kept_open import keeper_of
from custody_pipeline.warehouse.ledger import next_position
from custody_pipeline.warehouse.sql_text import literal, table_columns, transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from custody_pipeline.settings import Settings

logger = logging.getLogger(__name__)

_LOADED = frozenset(all_raw_tables())
_CHECK_IN = "check-in-"
_PAUSES = (1.0, 2.0, 4.0)
"""Seconds before a check-in that S3 refused is tried again, if the object is still the one that was checked out."""


class NightTakenError(ShardError):
    """Another worker checked the night in since this one checked it out."""


class _Base(msgspec.Struct):
    """The state of this worker's file, kept beside it in `base.json`.

    Attributes:
        etag: of the object that was checked out; None if there was none.
        others: a digest of the names of the other nights' objects whose rows were copied.
        dirty: something was written since the last check-in.
    """

    etag: str | None = None
    others: str = ""
    dirty: bool = False


# Files that a run of this process wrote: they are not compared with S3 again.
_OURS: set[Path] = set()


class NightWarehouse(Warehouse):
    """The warehouse of one night, in `$CUSTODY_HOME/nights/<night>` of the worker that has it."""

    def __init__(self, settings: Settings, night: date, lock_timeout: float = LOCK_TIMEOUT_SECONDS) -> None:
        super().__init__(settings, lock_timeout=lock_timeout)
        self.night = night
        self.place = Nights.of(settings)
        # The ETag of the object that was put from `_raw_path`.
        self._raw_etag: str | None = None

    @property
    def path(self) -> Path:
        """The file on this worker."""
        return self.settings.home.absolute() / "nights" / str(self.night) / "warehouse.duckdb"

    @property
    def _base_path(self) -> Path:
        return self.path.with_name("base.json")

    @property
    def _raw_path(self) -> Path:
        """The night's raw part as it was checked in; kept only until the next check-in."""
        return self.path.with_name("raw.duckdb")

    def _base(self) -> _Base | None:
        if not self._base_path.exists() or not self.path.exists():
            return None
        try:
            return read_json(self._base_path, _Base)
        except DamagedFileError as error:
            raise ShardError(
                f"{error}, or remove the folder {self.path.parent}, then run the night again: it begins with what is "
                "on S3, and loads what was collected since"
            ) from error

    def _keep(self, base: _Base) -> None:
        write_whole(self._base_path, msgspec.json.encode(base))

    @contextmanager
    def locked(self, read_only: bool = False) -> Iterator[None]:
        """As `Warehouse`; a night is checked out also to be read."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with super().locked(read_only):
            yield

    def _prepare(self, read_only: bool) -> None:
        self._raw_path.unlink(missing_ok=True)
        base = self._base()
        if base is None or not base.dirty or self.path not in _OURS:
            with explained(f"the night of {self.night} cannot be checked out"):
                base = self._check_out(base)
        if not read_only and not base.dirty:
            base.dirty = True
            self._keep(base)
        _OURS.add(self.path)

    def _check_out(self, base: _Base | None) -> _Base:
        there = head(self.place.client, self.place.raw(self.night))
        etag = there.etag if there else None
        fresh = base is None or base.etag != etag
        if base is None or fresh:
            self._discard()
            if there is not None:
                fetch(self.place.client, there.location, self.path)
            base = _Base(etag)
        shared = self.place.shared_copies(self.night, own=fresh)
        others = hashlib.sha256(" ".join(sorted(path.name for path in shared)).encode()).hexdigest()
        pending = self.place.pending_acts(self.night)
        con = self._connect(self.path, read_only=False)
        try:
            prepare(con)
            if base.others != others:
                take_over(con, self.night, shared, modelled=not fresh)
            _take_in(con, self.place, pending)
            self._replay(con)
        finally:
            con.close()
        base.others = others
        # The file differs from the object if acts were added, now or by an earlier run that was killed.
        base.dirty = base.dirty or bool(pending)
        self._keep(base)
        return base

    def _replay(self, con: duckdb.DuckDBPyConnection) -> None:
        """Load landing files that no load of this file has: their worker was killed, or the object is an older one."""
        place = S3Location.parse(self.settings.require("publish_url"))
        with tempfile.TemporaryDirectory(prefix="custody-replay-") as scratch:
            sources = Sources(self.settings, self.place.client, place, Path(scratch))
            known = {row[0] for row in con.execute("SELECT landing_id FROM raw.extraction_receipts").fetchall()}
            uris = landed_receipts(sources, self.night).get(self.night, [])
            left = [uri for uri in uris if uri.rsplit("/", 1)[1].removesuffix(".ndjson.gz") not in known]
            if not left:
                return
            sources.cuts = cuts_by_night(
                S3Reader(self.place.client, place), signing_verifiers(self.settings), self.night
            )
            loads = []
            for uri in left:
                try:
                    receipt = on_this_machine(self.place.client, uri, sources.folder())
                    loads.append(landing_at(sources, self.night, receipt, uri))
                except GoneError as error:
                    logger.warning("A load of the night of %s is left out: %s is gone.", self.night, error)
            load(con, [landing for landing, _ in loads], {landing.landing_id: path for landing, path in loads})
            logger.info("%d loads of the night of %s, left by another worker, were loaded.", len(loads), self.night)

    def _discard(self) -> None:
        log, left = self.path.with_name(f"{self.path.name}.wal"), self.path.parent.glob(f"*{PARTIAL}")
        for path in (self.path, log, self._base_path, self._raw_path, *left):
            path.unlink(missing_ok=True)
        for folder in self.path.parent.glob(f"{_CHECK_IN}*"):  # of a killed process
            shutil.rmtree(folder, ignore_errors=True)

    def tidy(self, before: datetime, *, dry_run: bool = False) -> bool:
        """Remove this worker's file if S3 has all of it, and nothing was written since `before` (UTC).

        Returns:
            Whether it is removed, or would be. A file that a run holds stays.
        """
        with suppress(WarehouseBusyError, ShardError), self.locked():
            base = self._base()
            if base is None or base.dirty or self.path.stat().st_mtime > before.timestamp():
                return False
            if not dry_run:
                self._discard()
            return True
        return False

    def check_in(self, con: duckdb.DuckDBPyConnection, *, again: bool = False) -> None:
        """Put the night's raw part and its shared rows on S3, for other workers and nights.

        Raises:
            NightTakenError: another worker checked the night in meanwhile. This worker's file is discarded; its
                documents are in landing files, and the next run loads them.
            ShardError: S3 cannot be written. The file stays, and the next run continues with it.
        """
        if keeper := keeper_of(self.path):
            keeper.end_with_block()  # the next block compares the file with S3, or begins with another worker's file
        base = self._base() or _Base()
        client, shard = self.place.client, self._raw_path
        if not again or self._raw_etag is None or self._raw_etag != base.etag:
            shard.unlink(missing_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=_CHECK_IN, dir=self.path.parent) as folder,
            explained(f"the night of {self.night} cannot be checked in; it stays in {self.path.parent}"),
            con.cursor() as cursor,
        ):
            shared, ids = (Path(folder, name) for name in ("shared.parquet", "ids.parquet"))
            taken_in = _write_raw(cursor, self.night, shard)
            write_shared(cursor, self.night, SHARED, shared)
            write_shared(cursor, self.night, NEAR, ids)
            etag = self._put_raw(base.etag)
            self._put_shared(shared, self.place.shared(self.night), etag)
            self._put_shared(ids, self.place.ids(self.night), etag)
            for key in taken_in:
                client.delete_object(Bucket=self.place.place.bucket, Key=key)
        self._keep(_Base(etag, base.others, dirty=False))
        self._raw_etag = etag
        if again:
            shard.unlink()

    def require_ours(self) -> None:
        """As `Warehouse`. A worker that stood still for hours must not seal its older content as the newest revision.

        Raises:
            NightTakenError: another worker checked the night in. What it seals comes after that: if the log did not
                change since it was read before this call, it has sealed nothing yet.
        """
        base, there = self._base(), head(self.place.client, self.place.raw(self.night))
        if base is None or there is None or there.etag != base.etag:
            raise self._taken()

    def _put_raw(self, etag: str | None) -> str:
        """Put the night's raw part, if the object there still has this ETag; returns the new one."""
        client, at, sha256 = self.place.client, self.place.raw(self.night), sha256_of(self._raw_path)
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        pauses = iter(_PAUSES)
        while True:
            try:
                return put_file(client, self._raw_path, sha256, at, **condition).etag
            except ClientError as error:
                if error_code(error) not in CHANGED:
                    raise
                # A put whose answer was lost is repeated, and then refused.
                there = head(client, at)
                if there is not None and digest(client, there) == sha256:
                    return there.etag
                if (there.etag if there else None) != etag:
                    raise self._taken() from error
                # S3 also refuses while another request about the object is under way, which may change nothing.
                if (pause := next(pauses, None)) is None:
                    raise
            time.sleep(pause)

    def _put_shared(self, path: Path, to: S3Location, raw_etag: str) -> None:
        """Put rows for other nights, unless another worker has checked the night in since.

        A worker may pause between two puts, so the object there may be older than ours, or newer. Each worker puts the
        raw part first: ours is the newest as long as the raw part is ours.
        """
        client, sha256 = self.place.client, sha256_of(path)
        while True:
            there, newest = head(client, to), head(client, self.place.raw(self.night))
            if newest is None or newest.etag != raw_etag:
                return
            condition: dict[str, Any] = {"IfMatch": there.etag} if there else {"IfNoneMatch": "*"}
            try:
                put_file(client, path, sha256, to, **condition)
            except ClientError as error:
                if error_code(error) not in CHANGED:
                    raise
            else:
                return

    def _taken(self) -> NightTakenError:
        # The open connection keeps its file; the next connection begins with the other worker's file.
        self._discard()
        return NightTakenError(
            f"another worker ran the night of {self.night} meanwhile, and its state stands; nothing of this run was "
            "sealed after that, and what it collected is kept: run the night again, on one worker"
        )


def tidy_nights(settings: Settings, now: datetime, *, dry_run: bool = False) -> list[date]:
    """Remove this worker's files of nights that S3 has, and that no run wrote to for `landing_days` days.

    Returns:
        The nights whose files are removed, or would be.
    """
    before = now - timedelta(days=settings.landing_days)
    nights = (date.fromisoformat(at.parent.name) for at in sorted(settings.home.glob("nights/*/warehouse.duckdb")))
    return [night for night in nights if NightWarehouse(settings, night, 0).tidy(before, dry_run=dry_run)]


def _write_raw(con: duckdb.DuckDBPyConnection, night: date, to: Path) -> list[str]:
    """Copy the night's rows of `raw` into a file; tables that loads write are kept in a file that exists.

    Returns:
        The keys of the acts among these rows.
    """
    there = to.exists()
    tables = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'raw' "
        "ORDER BY table_name"
    ).fetchall()
    con.execute(f"ATTACH {literal(str(to))} AS shard (STORAGE_VERSION '{STORAGE_VERSION}')")
    try:
        con.execute("CREATE SCHEMA IF NOT EXISTS shard.raw")
        for (table,) in tables:
            if there and table in _LOADED:
                continue
            if table == "alerts_sent" and table_columns(con, "custody_taken_alerts"):
                rows = ALERTS_OF_NIGHT
            elif "partition_date" in table_columns(con, f"raw.{table}"):
                rows = f"FROM raw.{table} WHERE partition_date = $night"
            else:
                continue  # dlt's own tables, and tables about this file
            con.execute(
                f"CREATE OR REPLACE TABLE shard.raw.{table} AS {rows}", {"night": night} if "$night" in rows else None
            )
    finally:
        con.execute("DETACH shard")
    taken = con.execute("SELECT key FROM raw.taken_acts WHERE partition_date = ?", [night]).fetchall()
    return [key for (key,) in taken]


def _take_in(con: duckdb.DuckDBPyConnection, place: Nights, pending: Iterable[S3Location]) -> None:
    """Append pending acts, each object once: a worker that was killed before it removed them leaves both."""
    con.execute("CREATE TABLE IF NOT EXISTS raw.taken_acts (partition_date DATE, key VARCHAR)")
    known = {row[0] for row in con.execute("SELECT key FROM raw.taken_acts").fetchall()}
    with tempfile.TemporaryDirectory(prefix="custody-acts-") as folder:
        for at in pending:
            if at.key in known:
                continue
            copy = Path(folder, "acts.parquet")
            fetch(place.client, at, copy)
            with transaction(con):
                con.execute(
                    "INSERT INTO raw.acts BY NAME SELECT COLUMNS(name -> name <> 'position'), $position AS position "
                    "FROM read_parquet($acts, hive_partitioning = false)",
                    {"position": next_position(con), "acts": str(copy)},
                )
                night = at.key.rpartition("date=")[2].partition("/")[0]
                con.execute("INSERT INTO raw.taken_acts VALUES (?, ?)", [night, at.key])
