"""The objects below `CUSTODY_NIGHTS_URL`, and this machine's copies of them.

Belongs here: where each object is, reading it, and adding acts that happened outside a run. Does not: checking a night
out and in (shards.py), which rows nights share (shared_rows.py).
"""

from __future__ import annotations

import logging
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import duckdb
from botocore.exceptions import BotoCoreError, ClientError
from filelock import FileLock

from custody_pipeline.io.clock import night_in
from custody_pipeline.io.concurrency import in_order
from custody_pipeline.io.objects import ABSENT, UploadError, error_code, fetch, listed, put_file
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.io.whole_file import sha256_of
from custody_pipeline.warehouse.bookkeeping import create_bookkeeping
from custody_pipeline.warehouse.connection import WarehouseError
from custody_pipeline.warehouse.ledger import Actor, append_acts
from custody_pipeline.warehouse.sql_text import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.settings import Settings
    from custody_pipeline.warehouse.ledger import Act

NEIGHBOURS = timedelta(days=7)
"""A night knows the recordings of nights at most this far away: its lists name recordings of the nights around it."""

_IN_FLIGHT = 16

_READ_SECONDS = 3600.0
"""A copy that was wanted within this time may still be read."""

_TOGETHER = "acts/together/"

logger = logging.getLogger(__name__)


class ShardError(WarehouseError):
    """A night cannot be checked out or in. The message says what to do."""


@dataclass(frozen=True)
class Nights:
    """The objects below `CUSTODY_NIGHTS_URL`."""

    settings: Settings
    place: S3Location

    @classmethod
    def of(cls, settings: Settings) -> Nights:
        """The objects of a deployment with several workers."""
        return cls(settings, S3Location.parse(settings.require("nights_url")))

    @cached_property
    def client(self) -> S3Client:
        """boto3's."""
        return s3_client(self.settings)

    def raw(self, night: date) -> S3Location:
        """The raw part of a night's warehouse."""
        return self.place / f"raw/date={night}/warehouse.duckdb"

    def shared(self, night: date) -> S3Location:
        """The rows that a night shares with all other nights."""
        return self.place / f"shared/date={night}.parquet"

    def ids(self, night: date) -> S3Location:
        """The rows that a night shares with its neighbours."""
        return self.place / f"ids/date={night}.parquet"

    def shared_copies(self, night: date | None = None, *, own: bool = False) -> list[Path]:
        """Local copies of the objects that nights share.

        Args:
            night: the night that needs them. None: the objects of all nights, without those for neighbours.
            own: include the night's own objects.
        """
        names = {path: found["ETag"] for path, found in listed(self.client, self.place, "shared/")}
        if night is not None:
            names |= {path: found["ETag"] for path, found in listed(self.client, self.place, "ids/")}
        wanted = {path: etag for path, etag in names.items() if _concerns(path, night, own)}
        return self._copies(wanted)

    def _copies(self, wanted: dict[str, str]) -> list[Path]:
        """Local copies of objects. They seldom change, and an unchanged object is not read again."""
        folder = self.settings.home.absolute() / "nights" / "told"
        folder.mkdir(parents=True, exist_ok=True)
        places = {
            path: folder / f"{path.replace('/', '-').removesuffix('.parquet')}.{etag.strip(chr(34))}.parquet"
            for path, etag in wanted.items()
        }

        def copy(path: str) -> None:
            fetch(self.client, self.place / path, places[path])

        with FileLock(folder / "lock"):
            for _ in in_order(copy, [path for path, copy in places.items() if not copy.exists()], workers=_IN_FLIGHT):
                pass
            # Another process of this home may be reading the copy of an older version, or of a newer one.
            ours = {copy.name.split(".", 1)[0]: copy for copy in places.values()}
            for used in ours.values():
                used.touch()
            for old in folder.glob("*.parquet*"):
                if (
                    ours.get(old.name.split(".", 1)[0], old) != old
                    and old.stat().st_mtime < time.time() - _READ_SECONDS
                ):
                    old.unlink()
        return sorted(places.values())

    def pending_acts(self, night: date) -> list[S3Location]:
        """Acts that no run has added yet."""
        for path, _ in listed(self.client, self.place, _TOGETHER):
            self._divide(path)
        return [self.place / path for path, _ in listed(self.client, self.place, f"acts/date={night}/")]

    def put_acts(self, actor: Actor, acts: Iterable[Act]) -> None:
        """Store acts for the next runs of their nights, all or none.

        Raises:
            ShardError: S3 cannot be written: no act is stored.
        """
        with explained("the events cannot be recorded"), tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{uuid4().hex}.parquet")
            with duckdb.connect() as con:
                create_bookkeeping(con)
                append_acts(con, actor, acts)
                nights = con.execute("SELECT DISTINCT partition_date FROM raw.acts").fetchall()
                con.execute(f"COPY raw.acts TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)")
            at = f"acts/date={nights[0][0]}/{path.name}" if len(nights) == 1 else f"{_TOGETHER}{path.name}"
            if nights:
                put_file(self.client, path, sha256_of(path), self.place / at)
        if len(nights) <= 1:
            return
        # The acts are stored: who is told of an error from here on would store them again.
        try:
            self._divide(at)
        except (BotoCoreError, ClientError, UploadError) as error:
            logger.warning("The next run of any night divides %s: %s", self.place / at, error)

    def _divide(self, path: str) -> None:
        """Give each night its part of an object of acts. It has the name of the whole, so a run adds it only once."""
        with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
            whole, part = Path(folder, "whole"), Path(folder, "part")
            try:
                fetch(self.client, self.place / path, whole)
            except ClientError as error:
                if error_code(error) in ABSENT:
                    return  # another worker divided it
                raise
            acts = f"read_parquet({literal(str(whole))}, hive_partitioning = false)"
            for (night,) in con.execute(f"SELECT DISTINCT partition_date FROM {acts} ORDER BY ALL").fetchall():
                con.execute(
                    f"COPY (FROM {acts} WHERE partition_date = $night) TO {literal(str(part))} "
                    "(FORMAT parquet, COMPRESSION zstd)",
                    {"night": night},
                )
                at = self.place / f"acts/date={night}/{path.removeprefix(_TOGETHER)}"
                put_file(self.client, part, sha256_of(part), at)
            self.client.delete_object(Bucket=self.place.bucket, Key=(self.place / path).key)


def _concerns(path: str, night: date | None, own: bool) -> bool:
    """Whether an object is shared with a night, or with any night if that is None."""
    other = night_in(path.partition("/")[2].removesuffix(".parquet"))
    if night is None or other is None:
        return other is not None
    return (own or other != night) and (path.startswith("shared/") or abs(other - night) <= NEIGHBOURS)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn S3's errors into ShardError, with what could not be done."""
    try:
        yield
    except ClientError as error:
        raise ShardError(
            f"{what}: S3 answered {error_code(error)} to {error.operation_name}; mend that (credentials, permissions) "
            "and run the night again: what was collected is kept"
        ) from error
    except (BotoCoreError, UploadError) as error:
        raise ShardError(f"{what} ({type(error).__name__}); run the night again: what was collected is kept") from error
