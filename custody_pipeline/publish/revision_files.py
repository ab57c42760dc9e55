"""The files of a night's revision: written on this machine, staged below `sealing/<id>/`, and the draft of their cut.

Belongs here: which files a revision has, and what its draft states. Does not: which revision it is, and the order
(publication.py), the bytes of a table's file (tables.py), landing files (sealed_landing.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import duckdb

from custody_pipeline.evidence.cut.manifest import REPORT, ROTATION, CutFile, Superseded, cut_prefix
from custody_pipeline.evidence.cut.seal import Draft
from custody_pipeline.io.objects import Uploads, put_bytes
from custody_pipeline.io.progress import report
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.io.whole_file import sha256_of
from custody_pipeline.publish.completeness import Stated
from custody_pipeline.publish.current_copies import CONTENT_TYPES
from custody_pipeline.publish.sealed_landing import NightReceipts, landing_of, put_landing
from custody_pipeline.publish.sealer import Sealer
from custody_pipeline.publish.tables import ExportedFile, describe_table, export_table
from custody_pipeline.warehouse.ledger import Actor
from custody_pipeline.warehouse.sql_files import SQL_DIR, read_model


@dataclass(frozen=True)
class MoreFile:
    """A file that a cut gets besides tables and landing files. `rows`: of a table."""

    path: str
    local: Path
    rows: int | None = None


More = Callable[[int, str, "Path", "Sequence[CutFile]"], "list[MoreFile]"]
"""(revision, sealed_at, an empty folder, the files that the cut has) → more files of the cut."""


@dataclass(frozen=True)
class Staged:
    """The staged files of a revision.

    Attributes:
        content_types: by their path in the cut.
        receipts: of the loads whose landing files are among them.
    """

    files: list[CutFile]
    content_types: dict[str, str]
    receipts: NightReceipts


@dataclass(frozen=True)
class RevisionFiles:
    """What `publish_night` was asked for, as far as it decides the files of a revision."""

    con: duckdb.DuckDBPyConnection
    actor: Actor
    night: date
    tables: tuple[str, ...]
    sealer: Sealer
    now: datetime
    why: str
    compressed: bool
    write_report: Callable[[Path], object] | None
    more: More | None

    @property
    def folder(self) -> Path:
        """The night's files on this machine, until it is published."""
        return self.sealer.folder / f"date={self.night}"

    def export(self, revision: int) -> dict[str, ExportedFile]:
        """Write the files of the tables on this machine. Returns them by path in the cut."""
        folder = self._folder_of(revision)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        files: dict[str, ExportedFile] = {}
        for done, name in enumerate(self.tables):
            report("publishing tables", done, len(self.tables))
            table = describe_table(self.con, name, _grain(name))
            sealed = name == "chain_of_custody"
            for file in export_table(
                self.con,
                table,
                self.night,
                folder,
                revision=revision,
                compressed=self.compressed,
                salt_secret=self.sealer.sealing.salt_secret if sealed else None,
            ):
                files[f"data/{file.path.name}"] = file
        report("publishing tables", len(self.tables), len(self.tables))
        return files

    def _folder_of(self, revision: int) -> Path:
        return self.folder / f"r{revision:04d}"

    def stage(self, folder: S3Location, revision: int, exported: Mapping[str, ExportedFile]) -> Staged:
        """Put every file of a revision into a folder of S3: tables, report, landing files, statements.

        Args:
            folder: of the claim; nobody else writes there.
            exported: what `export` returned.
        """
        receipts = landing_of(self.con, self.night)
        kinds = {path: CONTENT_TYPES[file.path.suffix] for path, file in exported.items()}
        with Uploads(self.sealer.client) as uploads:
            for path, file in exported.items():
                uploads.put(file.path, file.sha256, folder / path, ContentType=kinds[path])
        files = [CutFile(path, file.bytes, file.sha256, file.rows, None) for path, file in exported.items()]
        files += self._stage(folder, self._report(revision), kinds)
        cut = self.sealer.place / cut_prefix(self.night.isoformat(), revision - 1).rstrip("/")
        landed = put_landing(self.sealer.client, receipts, folder, cut if revision > 1 else None)
        for path, stored in landed.items():
            files.append(CutFile(path, stored.bytes, str(stored.sha256), None, None))
            kinds[path] = "application/gzip"
        if (statement := self.sealer.sealing.rotation) is not None:
            kinds[ROTATION] = "text/plain; charset=utf-8"
            put = put_bytes(self.sealer.client, statement, folder / ROTATION, ContentType=kinds[ROTATION])
            files.append(CutFile(ROTATION, len(statement), str(put.sha256), None, None))
        files += self._stage(folder, self._more_files(revision, files), kinds)
        return Staged(files, kinds, receipts)

    def _report(self, revision: int) -> list[MoreFile]:
        """Write the night's report."""
        if self.write_report is None:
            return []
        folder = self._folder_of(revision) / REPORT
        folder.mkdir()
        self.write_report(folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return [MoreFile(f"{REPORT}{path.relative_to(folder).as_posix()}", path) for path in paths]

    def _more_files(self, revision: int, there: Sequence[CutFile]) -> list[MoreFile]:
        if self.more is None:
            return []
        place = self.folder / "more"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return self.more(revision, self._sealed_at, place, there)

    def _stage(self, folder: S3Location, found: Sequence[MoreFile], kinds: dict[str, str]) -> list[CutFile]:
        """Stage files of a cut; `kinds` gets their content types."""
        files = []
        with Uploads(self.sealer.client) as uploads:
            for file in found:
                kinds[file.path] = CONTENT_TYPES.get(Path(file.path).suffix, "application/json")
                sha256 = sha256_of(file.local)
                uploads.put(file.local, sha256, folder / file.path, ContentType=kinds[file.path])
                files.append(CutFile(file.path, file.local.stat().st_size, sha256, file.rows, None))
        return files

    @property
    def _sealed_at(self) -> str:
        return self.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def draft(self, revision: int, staged: Staged, stated: Stated, before: str | None) -> Draft:
        """The cut of a revision, before it is sealed.

        Args:
            revision: the one that is made.
            staged: its files.
            stated: what the night claims.
            before: SHA-256 of the previous revision's `cut.json`, hex.
        """
        statuses = self.con.execute(
            "SELECT custody_status, count(*) FROM custody.chain_of_custody WHERE partition_date = $night GROUP BY 1",
            {"night": self.night},
        ).fetchall()
        receipts = staged.receipts
        return Draft(
            night=self.night.isoformat(),
            revision=revision,
            complete=stated.completeness,
            coverage=stated.coverage,
            sealed_at=self._sealed_at,
            operator=self.actor.operator,
            tool_version=self.actor.tool_version,
            files=staged.files,
            counts={
                Path(file.path).stem: file.rows or 0
                for file in staged.files
                if file.path.startswith("data/") and file.path.endswith(".parquet")
            },
            statuses={str(status): number for status, number in statuses},
            organization_id=receipts.organization_id,
            collector=receipts.collector,
            git_revision=receipts.git_revision,
            receipts=receipts.for_cut,
            supersedes=Superseded(revision - 1, before, self.why, self._changed_rows(revision)) if before else None,
        )

    def _changed_rows(self, revision: int) -> int:
        row = self.con.execute(
            "SELECT count(*) FROM custody.chain_of_custody WHERE partition_date = $night AND revision = $revision",
            {"night": self.night, "revision": revision},
        ).fetchone()
        return int(row[0]) if row else 0


@cache
def _grain(table: str) -> tuple[str, ...]:
    return read_model(SQL_DIR / "custody" / f"{table}.sql").grain
