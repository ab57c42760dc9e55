"""One night of the warehouse → its cut and its current copies in S3.

Belongs here: deciding whether there is something to publish, and in which order it is done. Does not: the files of a
revision (revision_files.py), the seal (sealer.py), the current copies (current_copies.py), single objects
(io/objects.py).

The order, each step finished before the next:

1. every file of the night is written locally and staged below `sealing/<id>/`, where nobody else writes,
2. the night claims the next place in the log (claims.py): from here on it will be sealed, by this home or the next,
3. the staged files are copied into `cuts/date=…/rNNNN/` and the cut is sealed (`cut.json`, then the log's head),
4. the current copies below `parquet/`, `csv/`, `spreadsheet/` and `report/` are made from the cut, inside S3,
5. `current/date=….json` names the revision and its files,
6. `raw.publications`, `raw.published_columns`, `raw.row_versions` and `raw.acts` are appended to, in one transaction.

If a run is killed at any step, the next run ends with the same bytes. Before 2 there are only staged files; after 2 the
claim is completed first, by this home or another one. The content that is being sealed is noted in
`$CUSTODY_HOME/publish` before 2: later events that are no content then make no further revision. Several homes may
publish to one prefix: a home whose claim fails reads again what is there, and takes the next revision if the night was
sealed with other content.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
from filelock import FileLock

from custody_pipeline.evidence.cut.manifest import CUT_JSON, RECORDS, cut_prefix
from custody_pipeline.evidence.reader import MANIFEST_BYTES
from custody_pipeline.io.objects import get_object, head, put_bytes, read_up_to
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.io.whole_file import write_whole
from custody_pipeline.publish.completeness import Stated, completeness_of
from custody_pipeline.publish.current_copies import Publication, PublishedFile, publication_of, switch
from custody_pipeline.publish.landed import SealedCuts
from custody_pipeline.publish.revision_files import More, RevisionFiles
from custody_pipeline.publish.sealer import Sealer
from custody_pipeline.publish.sealing import load_sealing
from custody_pipeline.publish.tables import ExportedFile
from custody_pipeline.warehouse.bookkeeping import append_published_columns, append_row_versions, count_rows_as_next
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES, night_content_sha256
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts, next_position
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import transaction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb
    from mypy_boto3_s3 import S3Client

    from custody_pipeline.evidence.cut.manifest import Cut
    from custody_pipeline.publish.claims import State
    from custody_pipeline.settings import Settings

ADOPTED = "taken over from its cut"
"""Stands in place of a content hash: no content equals it, so the next run of the night publishes again."""


class PublishError(Exception):
    """A night cannot be published. The message says why and what to do."""


def publish_night(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    night: date,
    *,
    tables: Sequence[str] = PUBLISHED_TABLES,
    client: S3Client | None = None,
    now: datetime | None = None,
    why: str = "run again",
    write_report: Callable[[Path], object] | None = None,
    more: More | None = None,
    still_ours: Callable[[], object] = lambda: None,
) -> Publication:
    """Publish a night, if its content differs from what is published.

    Args:
        con: the warehouse, open for writing.
        settings: `CUSTODY_PUBLISH_URL` must be set.
        tables: of schema `custody`; `chain_of_custody` must be among them.
        now: UTC; the clock's if None.
        why: the reason of the custody event, if the night was published before.
        write_report: writes the night's report into an empty folder; called before a revision is sealed. All its files
            are sealed with the night, and copied to `report/date=…/`.
        more: gives more files for the cut. A revision is then published even if the content is equal.
        still_ours: raises if another worker has the night by now; called before each attempt to seal.

    Returns:
        The revision that is published now.

    Raises:
        SettingsError: no place to publish to, or a wrong setting of the seal.
        PublishError: published files are missing or altered.
        UploadError, SealingError, SealError, InconsistentHeadError: see publish/ and evidence/.
    """
    place = S3Location.parse(settings.require("publish_url"))
    folder = settings.home.absolute() / "publish"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        sealer = Sealer(client or s3_client(settings), place, folder, load_sealing(settings))
        nights = S3Location.parse(settings.nights_url) if settings.nights_url else None
        compressed = settings.csv_compression == "gzip"
        actor, at = Actor.of(settings), now or datetime.now(UTC)
        files = RevisionFiles(con, actor, night, tuple(tables), sealer, at, why, compressed, write_report, more)
        return _Run(con, actor, night, sealer, at, why, nights, files, still_ours).publish()


class _Noted(msgspec.Struct):
    """What is being sealed: its content hash, and the digests of its files by path in the cut."""

    content: str
    files: dict[str, str]


@dataclass
class _Run:
    """One call of `publish_night`: the values that its steps share."""

    con: duckdb.DuckDBPyConnection
    actor: Actor
    night: date
    sealer: Sealer
    now: datetime
    why: str
    nights: S3Location | None
    files: RevisionFiles
    still_ours: Callable[[], object]

    @property
    def client(self) -> S3Client:
        return self.sealer.client

    @property
    def place(self) -> S3Location:
        return self.sealer.place

    def publish(self) -> Publication:
        content = night_content_sha256(self.con, self.night)
        newest = self._newest()
        stated = completeness_of(self.con, self.night)
        same = newest is not None and newest.content_sha256 == content
        if self.files.more is None and newest is not None and same and newest.complete in {None, stated.completeness}:
            publication = self._verified(newest)
            append_acts(self.con, self.actor, [self._recheck(newest, publication, "nothing changed")])
            return publication
        publication = self._publication(*self._cut_with(content, newest, stated), content)
        switch(self.client, self.place, publication)
        switched = publication
        while (later := self._newest_sealed(switched)) is not switched:
            # Another home sealed a later revision meanwhile: its copies may have been overwritten with ours.
            switch(self.client, self.place, switched := later)
        self._record(publication, newest)
        shutil.rmtree(self.files.folder, ignore_errors=True)
        return publication

    def _cut_with(self, content: str, newest: Publication | None, stated: Stated) -> tuple[Cut, str]:
        """The cut that has the night's content, and its SHA-256: it is sealed unless a killed run did so."""
        revision = newest.revision + 1 if newest else 1
        while True:
            # Read before the revision is decided: any later seal makes the claim fail.
            state = self.sealer.settle(self.now)
            self.still_ours()
            sealed = self._sealed_already(revision)
            if sealed is not None and self._is_noted(revision, content, sealed[0]):
                return sealed
            exported = self.files.export(revision)
            if sealed is None:
                self._note(revision, content, exported)
                if (made := self._seal(state, revision, exported, stated)) is not None:
                    return made
                continue
            if _same_files(sealed[0], exported):
                return sealed
            # A killed run or another home sealed this revision with other content. It stays; ours is the next revision.
            self._record(self._publication(*sealed, ADOPTED), newest)
            revision += 1

    def _newest(self) -> Publication | None:
        row = self.con.execute(query("publish/newest_revision"), {"night": self.night}).fetchone()
        if row is None:
            return None
        files = tuple(PublishedFile(**file) for file in row[3])
        at = self.place / (cut_prefix(self.night.isoformat(), row[0]) + CUT_JSON)
        return Publication(self.night, row[0], row[1], row[2], files, str(at), "", changed=False)

    def _sealed_already(self, revision: int) -> tuple[Cut, str] | None:
        """The cut of a revision, and its SHA-256.

        Raises:
            TargetError: a cut is there that no key of this log sealed. Its place is taken, and nothing is sealed.
        """
        path = cut_prefix(self.night.isoformat(), revision) + CUT_JSON
        if head(self.client, self.place / path) is None:
            return None
        keys = [signer.verifier for signer in self.sealer.sealing.signers]
        sealed = SealedCuts(self.sealer.reader, keys).read(path)
        return sealed.cut, sealed.sha256

    def _verified(self, published: Publication) -> Publication:
        """The publication, after missing copies in S3 were put again."""
        sealed = self._sealed_already(published.revision)
        if sealed is None:
            raise PublishError(
                f"{published.cut} is gone, or was published elsewhere than below {self.place}. Restore it from an "
                "older version or a replica, or set CUSTODY_PUBLISH_URL to where the night is."
            )
        cut, cut_sha256 = sealed
        there = {entry.path.removeprefix(cut.prefix): entry.size for entry in self.sealer.reader.list(cut.prefix)}
        damaged = [file.path for file in cut.files if there.get(file.path) != file.bytes]
        if damaged:
            raise PublishError(
                f"{published.cut} names files that are gone or of another size: {', '.join(damaged[:5])}. "
                "Restore their versions; run custody verify to see everything that differs."
            )
        whole = self._publication(cut, cut_sha256, published.content_sha256)
        repaired = switch(self.client, self.place, self._newest_sealed(whole), only_damaged=True)
        return replace(whole, changed=False, repaired=tuple(repaired))

    def _newest_sealed(self, publication: Publication) -> Publication:
        """The night's newest revision: `publication`, or a later one that another home sealed."""
        while (sealed := self._sealed_already(publication.revision + 1)) is not None:
            publication = self._publication(*sealed, publication.content_sha256)
        return publication

    def _note(self, revision: int, content: str, exported: Mapping[str, ExportedFile]) -> None:
        noted = msgspec.json.encode(_Noted(content, {path: file.sha256 for path, file in exported.items()}))
        if self.nights is not None:
            put_bytes(self.client, noted, self._noted(self.nights, revision))
        else:
            write_whole(self.files.folder / f"r{revision:04d}.content", noted)

    def _noted(self, nights: S3Location, revision: int) -> S3Location:
        """The object that tells every worker which content another one was sealing."""
        return nights / f"sealing/date={self.night}.r{revision:04d}.json"

    def _note_of(self, revision: int) -> bytes | None:
        if self.nights is not None:
            answer = get_object(self.client, self._noted(self.nights, revision))
            return read_up_to(answer["Body"], MANIFEST_BYTES) if answer else None
        path = self.files.folder / f"r{revision:04d}.content"
        return path.read_bytes() if path.exists() else None

    def _is_noted(self, revision: int, content: str, cut: Cut) -> bool:
        """Whether this home, or one of several workers, was sealing `content`, and the cut has the files it made."""
        try:
            noted = msgspec.json.decode(self._note_of(revision) or b"", type=_Noted)
        except (ValueError, RecursionError):  # none, or a damaged one: the files are compared
            return False
        there = {file.path: file.sha256 for file in cut.files}
        return noted.content == content and noted.files.items() <= there.items()

    def _seal(
        self, state: State, revision: int, exported: Mapping[str, ExportedFile], stated: Stated
    ) -> tuple[Cut, str] | None:
        """Stage the night's files and seal them; None if another home sealed something since `state`."""
        bundle_id = uuid4().hex
        staged = self.files.stage(self.sealer.claims.folder(bundle_id), revision, exported)
        before = self._sealed_already(revision - 1) if revision > 1 else None
        draft = self.files.draft(revision, staged, stated, before[1] if before else None)
        records = exported[RECORDS].path.read_bytes()
        sealed = self.sealer.seal(state, draft, staged.content_types, bundle_id, records, self.now)
        return None if sealed is None else (sealed.cut, sealed.sha256)

    def _publication(self, cut: Cut, cut_sha256: str, content: str) -> Publication:
        return publication_of(cut, cut_sha256, content, self.place, self.night, self.files.tables)

    def _record(self, publication: Publication, newest: Publication | None) -> None:
        """Record a publication, and the content of the rows that are counted as it.

        The rows are none of an adopted revision, and are counted as the next one instead: a run that is killed between
        the two leaves what its next publishing needs.
        """
        published_at = self.now.astimezone(UTC).replace(tzinfo=None)
        with transaction(self.con):
            record_publication(self.con, publication, self.actor, published_at)
            append_published_columns(self.con, self.night, revision=publication.revision, published_at=published_at)
            rows = 0
            if publication.content_sha256 == ADOPTED:
                count_rows_as_next(self.con, self.night, revision=publication.revision)
            else:
                rows = append_row_versions(self.con, self.night, revision=publication.revision)
            if newest is not None:
                changes = f"{rows} row{'s' * (rows != 1)} new or changed"
                append_acts(self.con, self.actor, [self._recheck(newest, publication, changes)])

    def _recheck(self, newest: Publication, publication: Publication, changes: str) -> Act:
        return Act(
            self.night,
            "rechecked",
            what=f"revision {publication.revision}: {changes}",
            why=self.why,
            how="collected, joined and compared with what is published",
            where_at=publication.cut,
            sha256_before=_hash_of(newest),
            sha256_after=_hash_of(publication),
        )


def record_publication(
    con: duckdb.DuckDBPyConnection, publication: Publication, actor: Actor, published_at: datetime
) -> None:
    """Append a row to `raw.publications`. `published_at` is UTC without a zone."""
    con.execute(
        "INSERT INTO raw.publications BY NAME SELECT $night AS partition_date, $revision::INTEGER AS revision, "
        "$content AS content_sha256, $published_at::TIMESTAMP AS published_at, $complete AS completeness, "
        "$files AS files, $operator AS operator, $tool_version AS tool_version, "
        "$git_revision AS git_revision, $cut_uri AS cut_uri, $cut_sha256 AS cut_sha256, $position AS position",
        {
            "night": publication.night,
            "revision": publication.revision,
            "content": publication.content_sha256,
            "published_at": published_at,
            "complete": publication.complete,
            "files": [asdict(file) for file in publication.files],
            "cut_uri": publication.cut,
            "cut_sha256": publication.cut_sha256,
            "position": next_position(con),
            **asdict(actor),
        },
    )


def _hash_of(publication: Publication) -> str | None:
    return None if publication.content_sha256 == ADOPTED else publication.content_sha256


def _same_files(cut: Cut, exported: Mapping[str, ExportedFile]) -> bool:
    ours = {path: file.sha256 for path, file in exported.items()}
    theirs = {file.path: file.sha256 for file in cut.files if file.path.startswith("data/")}
    return ours == theirs
