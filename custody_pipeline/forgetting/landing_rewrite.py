"""The landing files of a night, rewritten without the documents of erased conversations.

Belongs here: finding each file, putting the new one in its place, and making the receipts name it. Does not: what a
file keeps (extract/erased.py), the other steps of an erasure (erase.py).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import orjson
from botocore.exceptions import ClientError

from custody_pipeline.extract.documents import document
from custody_pipeline.extract.erased import erase_landing
from custody_pipeline.extract.landing_files import RECEIPTS, content_of, errors_that_name, line_of, read_lines
from custody_pipeline.forgetting.finder import landing_uris, sealed_night
from custody_pipeline.forgetting.object_versions import remove_versions, versions_of
from custody_pipeline.forgetting.sealed import in_scratch
from custody_pipeline.forgetting.warehouse_rows import Renewed
from custody_pipeline.io.gzipped import gzipped
from custody_pipeline.io.night_keys import NightKeys, night_keys_of
from custody_pipeline.io.objects import ABSENT, error_code, put_file
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.io.whole_file import sha256_of
from custody_pipeline.publish.sealed_landing import landing_files, landing_path, on_this_machine
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.erasures import Request, names_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class LandingRewrite:
    """Rewrites landing files for one request; every step may be repeated."""

    settings: Settings
    client: S3Client
    request: Request

    @cached_property
    def _ids(self) -> frozenset[str]:
        return names_of(self.request)

    @cached_property
    def _keys(self) -> NightKeys:
        return night_keys_of(self.settings)

    def of_night(self, con: duckdb.DuckDBPyConnection, night: str) -> dict[str, Renewed]:
        """Rewrite every landing file of a night that holds these conversations; URI → what is there now."""
        renewed: dict[str, Renewed] = {}
        known = dict(landing_files(con, date.fromisoformat(night)))
        there = list(landing_uris(self.settings, self.client, night))
        for uri in dict.fromkeys([*there, *known]):
            with in_scratch(self.settings) as name, errors_that_name(uri):
                folder = Path(name)
                source = self._source(night, uri, folder, landed=uri in there)
                loaded = known.get(uri) if uri in there else None
                if source is not None and (made := self._rewritten(uri, source, folder / "without", loaded)):
                    renewed[uri] = made
        for uri in there:
            if uri.rsplit("/", 3)[1] == RECEIPTS:
                self._rewrite_receipt(uri, renewed)
        return renewed

    def _source(self, night: str, uri: str, folder: Path, *, landed: bool) -> Path | None:
        """A landing file on this machine; None if it was tidied and is in no cut: nothing reads its load any more."""
        try:
            source = on_this_machine(self.client, uri, folder) if landed else folder / "none"
            return source if source.exists() else self._from_cut(night, uri, folder)
        except ClientError as error:
            if error_code(error) not in ABSENT:
                raise
        except FileNotFoundError:
            pass
        return None

    def _from_cut(self, night: str, uri: str, folder: Path) -> Path:
        """A tidied landing file, from the newest cut that has it."""
        if self.settings.publish_url is None:
            raise FileNotFoundError(uri)
        place = S3Location.parse(self.settings.publish_url)
        for cut in reversed(sealed_night(self.settings, self.client, night).cuts()):
            if cut.file(landing_path(uri)) is not None:
                return on_this_machine(self.client, str(place / f"{cut.prefix}{landing_path(uri)}"), folder)
        raise FileNotFoundError(uri)

    def _rewritten(self, uri: str, source: Path, target: Path, loaded: str | None) -> Renewed | None:
        """Place, digest and size of a landing file, if it was rewritten, now or by a run that was killed.

        Args:
            source: the file on this machine.
            target: a new file.
            loaded: the digest that the warehouse knows, unless the file was tidied.
        """
        if not source.name.endswith(".gz") and not uri.endswith(".gz"):
            source.unlink(missing_ok=True)  # a file that a killed run left half written
            return None
        if not erase_landing(self._ids, uri.rsplit("/", 3)[1], source, target, self._keys):
            if loaded is not None and (now := sha256_of(source)) != loaded:
                return Renewed(uri, now, source.stat().st_size)
            return None
        # A home that was moved or copied has receipts that name files of another place, which are not its own.
        uri = "/".join([self.settings.landing, *uri.rsplit("/", 3)[1:]])
        made = Renewed(uri, sha256_of(target), target.stat().st_size)
        self._put(uri, target, made.sha256)
        return made

    def _put(self, uri: str, local: Path, sha256: str) -> None:
        """Put a rewritten landing file in its place; no version of the old file stays."""
        if uri.startswith("s3://"):
            at = S3Location.parse(uri)
            put_file(self.client, local, sha256, at)
            older = [version for version in versions_of(self.client, at) if not version.latest]
            remove_versions(self.client, older, bypass_governance=self.request.bypass_governance)
            return
        path = Path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.tmp")
        shutil.copyfile(local, draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)

    def _rewrite_receipt(self, uri: str, renewed: dict[str, Renewed]) -> None:
        """Make the landed receipt name the rewritten files, because a lost warehouse is made again from it."""
        with in_scratch(self.settings) as folder, errors_that_name(uri):
            (line,) = read_lines(on_this_machine(self.client, uri, Path(folder)))
            told = orjson.loads(content_of(line))
            changed = False
            for file in told["landing_files"]:
                if file["uri"] in renewed and file["sha256"] != renewed[file["uri"]].sha256:
                    file["uri"], file["sha256"], file["bytes"] = renewed[file["uri"]]
                    changed = True
            if not changed:
                return
            target = Path(folder) / "receipt"
            head = orjson.loads(line)
            fetched_at = datetime.fromisoformat(head["fetched_at"])
            made = line_of(head["row"], head["k"], head["source_uri"], fetched_at, document(orjson.dumps(told)))
            with target.open("wb") as raw, gzipped(raw) as out:
                out.write(made)
            self._put(uri, target, sha256_of(target))
