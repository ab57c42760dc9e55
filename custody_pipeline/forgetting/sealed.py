"""Published cuts: files with erased conversations, their remains, and the statement.

Belongs here: earlier revisions of one night. Does not: sealing the next one (publish/), the order of the steps
(erase.py).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import CUT_JSON, Cut, CutFile, cut_prefix, read_cut, read_file
from custody_pipeline.evidence.cut.removal import (
    KEY_STATEMENT,
    REMAINS,
    STATEMENT,
    ErasedRecording,
    KeyStatement,
    RemovedFile,
    RemovedLeaf,
    Statement,
    decode_key_statement,
    decode_statement,
    encode_statement,
    is_derived,
    original_path,
    placeholder,
    remains_path,
)
from custody_pipeline.evidence.log.note import Verifier
from custody_pipeline.extract.erased import erase_landing, names_any
from custody_pipeline.io.night_keys import NO_KEYS, NightKeys
from custody_pipeline.io.whole_file import sha256_of
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.revision_files import MoreFile
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.erasures import Request, names_of


@dataclass
class SealedNight:
    """The cuts of one night.

    Attributes:
        night: `YYYY-MM-DD`.
        keys: the log's public keys; only cuts that they signed are read.
        opening: the keys of encrypted landing files.
    """

    reader: S3Reader
    night: str
    keys: Sequence[Verifier]
    opening: NightKeys = NO_KEYS
    _listed: dict[str, dict[str, int]] = field(default_factory=dict)

    def cuts(self) -> list[Cut]:
        """Every revision, oldest first."""
        prefix = f"cuts/date={self.night}/"
        found: dict[str, dict[str, int]] = {}
        for entry in self.reader.list(prefix):
            folder, _, path = entry.path.removeprefix(prefix).partition("/")
            found.setdefault(f"{prefix}{folder}/", {})[path] = entry.size
        self._listed = found
        opened = []
        for folder in sorted(found):
            if CUT_JSON in found[folder]:
                opened.append(read_cut(self.reader, folder, self.keys))
        return opened

    def there(self, cut: Cut, chosen: Callable[[str], bool]) -> list[CutFile]:
        """Files of a cut of `cuts` that are chosen by their paths and are still there."""
        here = self._listed.get(cut.prefix, {})
        return [file for file in cut.files if file.path in here and chosen(file.path)]

    def stated(self, request: Request) -> tuple[Cut, Statement | KeyStatement] | None:
        """The statement of a request, and its cut, if it is sealed."""
        path, decode = (KEY_STATEMENT, decode_key_statement) if request.forget_key else (STATEMENT, decode_statement)
        for cut in reversed(self.cuts()):
            stated = read_file(self.reader, cut, path)
            if stated is not None and (statement := decode(stated)).id == request.id:
                return cut, statement
        return None

    def holding(self, ids: Set[str], scratch: Path, revision: int = 10_000) -> Iterator[Holding]:
        """Files of revisions before `revision` that hold data of these conversations.

        Args:
            ids: in lower case.
            scratch: a folder for the remains of each file.
            revision: look only at earlier ones.
        """
        for cut in self.cuts():
            if cut.revision >= revision:
                continue
            there = self._listed.get(cut.prefix, {})
            held: dict[str, bool] = {}
            # Tables first: a CSV holds such data if its table does.
            for file in sorted(cut.files, key=lambda file: not file.path.endswith(".parquet")):
                if file.path in there and file.path.startswith(("data/", "landing/", cuts.REPORT, REMAINS)):
                    found = self._look(cut, file, ids, scratch, held)
                    if found is not None:
                        yield found

    def _look(self, cut: Cut, file: CutFile, ids: Set[str], scratch: Path, held: dict[str, bool]) -> Holding | None:
        inner = original_path(file.path)
        # A page shows data of the night's tables. Remains of a table of the same name are of an earlier revision.
        table = (cuts.TABLE if inner.startswith(cuts.REPORT) else file.path).partition(".")[0]
        if is_derived(inner) and inner != cuts.TABLE:
            return Holding(cut, file, None) if held.get(table) else None
        local, rest = scratch / "file", scratch / remains_path(cut.revision, file.path)
        with self.reader.open(cut.prefix + file.path) as stream, local.open("wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
        if inner.endswith(".parquet"):
            held[table] = _table_holds(ids, local)
            if not held[table]:
                return None
            if inner == cuts.TABLE:
                return Holding(cut, file, None)
            return Holding(cut, file, rest, rows=_erase_table(ids, local, rest))
        if inner == cuts.RECORDS:
            gone = _erase_records(ids, local, rest)
            return Holding(cut, file, rest, gone=tuple(gone)) if gone else None
        if inner.startswith("landing/"):
            documents = erase_landing(ids, inner.split("/")[1], local, rest, self.opening)
            return Holding(cut, file, rest, documents=documents) if documents else None
        return None


@dataclass(frozen=True)
class Holding:
    """A file of a cut with data of erased conversations.

    Attributes:
        rest: a local file with its data of other conversations; None if other files have the same.
        rows: of `rest`, for a table.
        gone: (line, conversation, recording) of erased records.
    """

    cut: Cut
    file: CutFile
    rest: Path | None
    rows: int | None = None
    gone: tuple[tuple[int, str, str], ...] = ()
    documents: int = 0


@dataclass
class Removing:
    """Makes the statement and the remains of one night for its next cut (`publish.revision_files.More`)."""

    sealed: SealedNight
    request: Request

    def __call__(self, revision: int, sealed_at: str, folder: Path, there: Sequence[CutFile]) -> list[MoreFile]:
        """The files that the cut of `revision` gets; see `More`."""
        ids = names_of(self.request)
        landed = {file.sha256: file.path for file in there if file.path.startswith("landing/")}
        known = {cut.revision: cut for cut in self.sealed.cuts()}
        files: list[RemovedFile] = []
        leaves: list[RemovedLeaf] = []
        more: dict[str, MoreFile] = {}
        for holding in self.sealed.holding(ids, folder, revision):
            kept = None
            if holding.rest is not None:
                kept = landed.get(sha256_of(holding.rest))
                if kept is None:
                    kept = holding.rest.relative_to(folder).as_posix()
                    more[kept] = MoreFile(kept, holding.rest, holding.rows)
            file = holding.file
            files.append(RemovedFile(holding.cut.revision, file.path, file.bytes, file.sha256, kept))
            is_rest = file.path.startswith(REMAINS)  # the path then names the revision that it is the rest of
            of = known[int(file.path[len(REMAINS) + 1 :][:4])] if is_rest else holding.cut
            leaves += [RemovedLeaf(of.log.first + line, *names) for line, *names in holding.gone]
        night = self.sealed.night
        recordings = {(r.conversation_id, r.recording_id) for r in self.request.recordings if r.night == night}
        statement = Statement(
            id=self.request.id,
            night=night,
            revision=revision,
            asked_at=self.request.asked_at,
            stated_at=sealed_at,
            operator=self.request.operator,
            reason=self.request.reason,
            authority=self.request.authority,
            selected_by=self.request.selected_by,
            conversations=self.request.conversations,
            recordings=tuple(ErasedRecording(*names) for names in sorted(recordings)),
            files=tuple(sorted(files, key=lambda file: (file.revision, file.path))),
            leaves=tuple(sorted(leaves, key=lambda leaf: leaf.index)),
            counts=self.request.counts,
        )
        path = folder / STATEMENT
        path.write_bytes(encode_statement(statement))
        return [MoreFile(STATEMENT, path), *more.values()]


def _table_holds(ids: Set[str], table: Path) -> bool:
    """Whether a Parquet file has rows of these conversations."""
    file = pq.ParquetFile(table)
    if "conversation_id" not in file.schema_arrow.names:
        return False
    values = file.read(["conversation_id"]).column(0)
    return any(value.lower() in ids for value in pc.unique(values).to_pylist() if value)


def _erase_table(ids: Set[str], source: Path, target: Path) -> int:
    """Write a Parquet file without the rows of these conversations; returns how many rows stay."""
    # Not `read_table`: it makes a column from a part of the path such as date=2026-11-02.
    table = pq.ParquetFile(source).read()
    keep = [value is None or value.lower() not in ids for value in table.column("conversation_id").to_pylist()]
    left = table.filter(keep)
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(left, target, compression="zstd")
    return int(left.num_rows)


def _erase_records(ids: Set[str], source: Path, target: Path) -> list[tuple[int, str, str]]:
    """Write a records file in which each record of these conversations is replaced by its leaf.

    Returns:
        (line from 0, conversation id, recording id) of each record that was erased; none: nothing was written.
    """
    found: list[tuple[int, str, str]] = []
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as lines, target.open("wb") as out:
        for number, line in enumerate(lines):
            record = line.removesuffix(b"\n")
            if names_any(ids, record) and not record.startswith(b'{"_erased"'):
                row = orjson.loads(record)
                if (row["conversation_id"] or "").lower() in ids:
                    found.append((number, row["conversation_id"], row["recording_id"]))
                    record = placeholder(record)
            out.write(record + b"\n")
    if not found:
        target.unlink()
    return found


def scratch(settings: Settings) -> Path:
    """A folder for an erasure's copies. The next erasure removes what a killed one left."""
    return settings.home / "erasures/scratch"


def in_scratch(settings: Settings) -> tempfile.TemporaryDirectory[str]:
    """A folder for files that are only read."""
    scratch(settings).mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=scratch(settings))


def removed_paths(statement: Statement) -> list[str]:
    """The files that a statement names, as paths below the published prefix."""
    return [cut_prefix(statement.night, file.revision) + file.path for file in statement.files]
