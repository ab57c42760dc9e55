"""Removals by signed statements: exactly the stated files may be gone, and nothing else; keys that were forgotten.

Belongs here: which statements count, what each of them covers, and whether it covers more than was asked. Does not:
making one (forgetting/), the form (evidence/cut/removal.py).

The statement of an erasure proves that nothing else was removed as follows. The remaining records give every leaf of
the revision: a kept record hashes to its leaf, and a placeholder is the leaf of an erased one. So each erased leaf is
known by its place, and the statement must name the recording of each. Records are ordered by conversation and
recording: the named one must fit between its neighbours. And each named recording has a row with the reason `ERASED`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import msgspec

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.manifest import Cut, CutError, cut_prefix
from custody_pipeline.evidence.cut.removal import (
    KEY_STATEMENT,
    REMAINS,
    STATEMENT,
    EncryptedFile,
    KeyStatement,
    RemovedFile,
    Stated,
    Statement,
    decode_key_statement,
    decode_statement,
    is_derived,
    is_landing,
    original_path,
    remaining_leaf,
    remains_path,
)
from custody_pipeline.evidence.log.note import NoteError
from custody_pipeline.evidence.reader import (
    MANIFEST_BYTES,
    Entry,
    NotAFileError,
    TargetError,
    TooLargeError,
    signed_lines,
)
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.io.encrypted_files import HEADER_BYTES, EncryptedFileError, key_named

if TYPE_CHECKING:
    from custody_pipeline.evidence.verify.context import Context

_OFF = timedelta(hours=1)
_FINDINGS = 5
UNKNOWN_CUT = (f"/{cuts.CUT_JSON}", f"/{cuts.SIGNATURE}")
"""A cut of which one of these files cannot be read is not known."""

_RECORDS_AGAIN = re.compile(rf"{REMAINS}r([0-9]{{4}})/{re.escape(cuts.RECORDS)}", re.ASCII)
"""The records that an earlier statement kept of a revision; a later statement may remove this file."""
_Key = tuple[str, str]
_S = TypeVar("_S", bound=Stated)


class _Named(msgspec.Struct):
    """The fields of a record that its place depends on."""

    conversation_id: str | None = None
    recording_id: str | None = None


@dataclass(frozen=True)
class _Found:
    """A statement, the folder of its cut, and that cut."""

    prefix: str
    cut: Cut
    statement: Statement


@dataclass
class Removals:
    """The statements of a set.

    Attributes:
        found: oldest revision first.
        leaves: index in the log → recording, of every erased record that a statement names.
    """

    found: list[_Found] = field(default_factory=list)
    leaves: dict[int, _Key] = field(default_factory=dict)
    _files: dict[tuple[str, str], RemovedFile] = field(default_factory=dict)

    def add(self, found: _Found) -> None:
        """Take up a statement that was checked."""
        statement = found.statement
        self.found.append(found)
        for file in statement.files:
            self._files[cuts.cut_prefix(statement.night, file.revision), file.path] = file
        self.leaves |= {leaf.index: (leaf.conversation_id, leaf.recording_id) for leaf in statement.leaves}

    def names(self, night: str) -> set[_Key]:
        """The recordings of a night that statements name."""
        stated = (found.statement for found in self.found if found.statement.night == night)
        return {(item.conversation_id, item.recording_id) for one in stated for item in one.recordings}

    def removed(self, prefix: str, path: str, sha256: str) -> bool:
        """Whether a statement says that this file of a cut was removed."""
        file = self._files.get((prefix, path))
        return file is not None and file.sha256 == sha256

    def remaining_records(self, prefix: str) -> tuple[str, int] | None:
        """Where the newest remains of a cut's records are, and their sealed size."""
        for found in reversed(self.found):
            for file in found.statement.files:
                of_cut = cuts.cut_prefix(found.statement.night, file.revision) == prefix and file.path == cuts.RECORDS
                again = file.path == f"{REMAINS}{prefix[-6:]}{cuts.RECORDS}"
                if (of_cut or again) and file.remains and (there := found.cut.file(file.remains)):
                    return found.prefix + file.remains, there.bytes
        return None


def read_removals(context: Context, folders: Mapping[str, Mapping[str, Entry]]) -> Removals:
    """The statements in cuts that a trusted key signed, with a finding for each that does not count."""
    removals = Removals()
    nights = {prefix.split("/")[1] for prefix in folders if STATEMENT in folders[prefix]}
    opened = {
        prefix: cut
        for prefix in sorted(folders)
        if prefix.split("/")[1] in nights and (cut := _opened(context, prefix)) is not None
    }
    for prefix, cut, statement in _sound(context, opened, STATEMENT, decode_statement, _problems):
        removals.add(_Found(prefix, cut, statement))
        recordings, files = len(statement.recordings), len(statement.files)
        told = (
            f"{recordings} recording{'s' * (recordings != 1)}, {files} file{'s' * (files != 1)} of earlier revisions, "
            f"on {statement.stated_at}, asked by {statement.operator} by {', '.join(statement.selected_by)}"
        )
        _tell(context.report, "ERASED", prefix + STATEMENT, told, statement)
    return removals


def _sound(
    context: Context,
    opened: Mapping[str, Cut],
    path: str,
    decode: Callable[[bytes], _S],
    problems_of: Callable[[_S, Cut, Mapping[str, Cut]], Iterable[tuple[str, str]]],
) -> Iterator[tuple[str, Cut, _S]]:
    """Folder, cut and statement of each statement that counts; a finding for each other one.

    The check of a cut (one_cut.py) reports a wrong signature or digest, and a file that is missing.

    Args:
        context: the verification.
        opened: folder → cut that a trusted key signed.
        path: of the statement in its cut.
        decode: reads a statement; raises CutError.
        problems_of: (statement, its cut, opened) → code and detail of each problem.
    """
    for prefix, cut in opened.items():
        listed = cut.file(path)
        if listed is None:
            continue
        try:
            data = context.read_ahead(prefix + path, MANIFEST_BYTES)
            if data is None or hashlib.sha256(data).hexdigest() != listed.sha256:
                continue
            statement = decode(data)
        except CutError as error:
            context.report.add("ERASURE_WRONG", prefix + path, str(error))
            continue
        if (statement.night, statement.revision) != (cut.night, cut.revision):
            problems = [("ERASURE_WRONG", f"it is of {statement.night}, revision {statement.revision}")]
        else:
            problems = [*_common_problems(statement, cut), *problems_of(statement, cut, opened)]
        if problems and context.report.unread(*UNKNOWN_CUT, below=f"cuts/date={cut.night}/"):
            continue  # the cut that it names may be there
        for code, detail in problems:
            context.report.add(code, prefix + path, detail)
        if not problems:
            yield prefix, cut, statement


def unknown_removals(report: Report, night: str) -> bool:
    """Whether a statement of a night, or a cut that may hold one, could not be read: it may state what is gone."""
    return bool(report.unread(STATEMENT, *UNKNOWN_CUT, below=f"cuts/date={night}/"))


def _tell(report: Report, code: str, path: str, told: str, statement: Stated) -> None:
    """Report a statement that counts as a note."""
    report.add(code, path, f"{told}; reason: {statement.reason}; authority: {statement.authority}")
    report.total["removal statements"] += 1
    report.valid["removal statements"] += 1


def _opened(context: Context, prefix: str) -> Cut | None:
    try:
        cut = cuts.read_cut(context.reader, prefix, context.keys)
    except (FileNotFoundError, NotAFileError, TooLargeError, NoteError, CutError):
        return None
    except (TargetError, OSError) as error:
        context.report.add("FILE_UNREADABLE", prefix + cuts.CUT_JSON, str(error))
        return None
    return cut if cut.prefix == prefix else None


def _common_problems(statement: Stated, cut: Cut) -> Iterator[tuple[str, str]]:
    """Code and detail of each problem that any removal statement can have: in its times, its reason, its authority.

    `cut` holds the statement.
    """
    if statement.stated_at != cut.sealed_at:
        yield "ERASURE_BACKDATED", f"stated at {statement.stated_at}, sealed at {cut.sealed_at}"
    elif datetime.fromisoformat(statement.asked_at) - datetime.fromisoformat(statement.stated_at) > _OFF:
        yield "ERASURE_BACKDATED", f"asked for at {statement.asked_at}, stated at {statement.stated_at}"
    if not (statement.reason.strip() and statement.authority.strip()):
        yield "ERASURE_WRONG", "it lacks the reason or the authority"


def _problems(statement: Statement, cut: Cut, opened: Mapping[str, Cut]) -> Iterator[tuple[str, str]]:
    """Code and detail of each problem that keeps a statement from counting."""
    if not statement.conversations:
        yield "ERASURE_TOO_WIDE", "no conversation was to be erased"
    keys = {(item.conversation_id, item.recording_id) for item in statement.recordings}
    if {conversation for conversation, _ in keys} - set(statement.conversations):
        yield "ERASURE_TOO_WIDE", "a recording is of no conversation that was asked for"
    if {(leaf.conversation_id, leaf.recording_id) for leaf in statement.leaves} - keys:
        yield "ERASURE_TOO_WIDE", "a leaf is of no recording that was asked for"
    spans: set[range] = set()
    for file in statement.files:
        earlier = opened.get(cuts.cut_prefix(statement.night, file.revision))
        problem = _problem_of_file(file, cut, earlier)
        if problem is not None:
            yield problem
        elif earlier is not None and file.path == cuts.RECORDS:
            spans.add(range(earlier.log.first, earlier.log.cut_index))
        elif again := _RECORDS_AGAIN.fullmatch(file.path):
            of = opened.get(cuts.cut_prefix(statement.night, int(again[1])))
            spans |= {range(of.log.first, of.log.cut_index)} if of else set()
    outside = [leaf.index for leaf in statement.leaves if not any(leaf.index in span for span in spans)]
    if outside:
        yield "ERASURE_TOO_WIDE", f"leaf {outside[0]} is in no records file that was removed"


def _problem_of_file(file: RemovedFile, cut: Cut, earlier: Cut | None) -> tuple[str, str] | None:
    name = f"{file.path} of revision {file.revision}"
    if file.revision >= cut.revision or earlier is None:
        return "ERASURE_WRONG", f"{name}: no earlier revision that is here"
    listed = earlier.file(file.path)
    if listed is None or (listed.sha256, listed.bytes) != (file.sha256, file.bytes):
        return "ERASURE_WRONG", f"{name} is not the file that was sealed"
    if not file.path.startswith(("data/", "landing/", cuts.REPORT, REMAINS)):
        return "ERASURE_TOO_WIDE", f"{name} holds no recording"
    if file.remains is None and not is_derived(file.path):
        return "ERASURE_TOO_WIDE", f"{name}: nothing remains of what it held of others"
    if file.remains is not None:
        left = cut.file(file.remains)
        if file.remains != remains_path(file.revision, file.path) and not _is_landing_of(file.path, file.remains):
            return "ERASURE_WRONG", f"{name}: {file.remains} is not where its remains belong"
        if left is None:
            return "ERASURE_WRONG", f"{name}: {file.remains} is not in this cut"
        if listed.rows is not None and left.rows is not None and left.rows > listed.rows:
            return "ERASURE_WRONG", f"{name}: more rows remain than were sealed"
    return None


def _is_landing_of(path: str, remains: str) -> bool:
    """Whether both are landing files of one source: what remains may be a landing file of the newer rows as well."""
    removed, left = original_path(path).split("/"), remains.split("/")
    return removed[0] == left[0] == "landing" and removed[1:2] == left[1:2]


def remaining_leaves(context: Context, prefix: str, cut: Cut) -> list[bytes] | None:
    """The leaves of a cut whose records were removed as stated, from what remains of them.

    Returns:
        None with a finding if nothing that remains can be read.
    """
    report, place = context.report, context.removals.remaining_records(prefix)
    if place is None:
        report.add("FILE_MISSING", prefix + cuts.RECORDS)
        return None
    path, size = place
    leaves: list[bytes] = []
    names: list[_Key | None] = []
    try:
        with context.reader.open(path) as stream:
            for line in signed_lines(stream, size):
                leaf, erased = remaining_leaf(line)
                leaves.append(leaf)
                names.append(None if erased else _key(line))
    except FileNotFoundError:
        report.add("FILE_MISSING", path)
        return None
    except (TargetError, OSError) as error:
        report.add("FILE_UNREADABLE", path, str(error))
        return None
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        report.add("ERASURE_WRONG", path, f"line {len(leaves) + 1}: {type(error).__name__}")
        return None
    stated = context.removals.leaves
    erased_at = [cut.log.first + number for number, name in enumerate(names) if name is None]
    for index in sorted(set(erased_at) ^ {index for index in stated if cut.log.first <= index < cut.log.cut_index})[
        :_FINDINGS
    ]:
        said = "stated, and its record is here" if index in stated else "erased, and no statement names it"
        report.add("ERASURE_TOO_WIDE", path, f"leaf {index} is {said}")
    placed = [name or stated.get(cut.log.first + number) for number, name in enumerate(names)]
    for number in _out_of_order(placed)[:_FINDINGS]:
        report.add("ERASURE_TOO_WIDE", path, f"leaf {cut.log.first + number} is not of the recording that is stated")
    report.total["records"] -= len(erased_at)
    report.valid["records"] += len(leaves) - len(erased_at)
    report.total["records erased"] += len(erased_at)
    report.valid["records erased"] += len(erased_at)
    return leaves


def _key(line: bytes) -> _Key:
    named = msgspec.json.decode(line, type=_Named)
    return named.conversation_id or "", named.recording_id or ""


def _out_of_order(placed: Sequence[_Key | None]) -> list[int]:
    keys = [tuple(part.encode() for part in key) if key else None for key in placed]
    known: Iterable[tuple[int, tuple[bytes, ...]]] = ((n, key) for n, key in enumerate(keys) if key is not None)
    wrong, before = [], None
    for number, key in known:
        if before is not None and key <= before:
            wrong.append(number)
        before = key
    return wrong


def check_forgotten_keys(context: Context, known: Iterable[Cut]) -> None:
    """Report each statement, and everything wrong in it. `known`: cuts that a trusted key signed."""
    opened = {cut.prefix: cut for cut in known}

    def problems(statement: KeyStatement, _: Cut, opened: Mapping[str, Cut]) -> Iterator[tuple[str, str]]:
        for file in statement.files:
            of = opened.get(cut_prefix(statement.night, file.revision))
            if problem := _problem_of_encrypted(context, statement, file, of):
                yield "ERASURE_WRONG", f"{file.path} of revision {file.revision} {problem}"
        for revision, path in _unnamed(context, statement, opened.values())[:_FINDINGS]:
            yield "ERASURE_WRONG", f"{path} of revision {revision} is not named: it may be readable still"

    for prefix, _, statement in _sound(context, opened, KEY_STATEMENT, decode_key_statement, problems):
        number = len(statement.files)
        told = (
            f"{number} landing file{'s' * (number != 1)} and {statement.captures} documents of the capture place, "
            f"on {statement.stated_at}, asked by {statement.operator}"
        )
        _tell(context.report, "KEY_FORGOTTEN", prefix + KEY_STATEMENT, told, statement)


def _unnamed(context: Context, statement: KeyStatement, opened: Iterable[Cut]) -> list[tuple[int, str]]:
    """Landing files of the night, up to the statement, that are neither named by it nor erased: revision and path."""
    named = {(file.revision, file.path) for file in statement.files}
    return [
        (cut.revision, file.path)
        for cut in opened
        if cut.night == statement.night and cut.revision <= statement.revision
        for file in cut.files
        if is_landing(file.path)
        and (cut.revision, file.path) not in named
        and not context.removals.removed(cut.prefix, file.path, file.sha256)
    ]


def _problem_of_encrypted(context: Context, statement: KeyStatement, file: EncryptedFile, of: Cut | None) -> str | None:
    listed = of.file(file.path) if of is not None and file.revision <= statement.revision else None
    if of is None or listed is None or (listed.sha256, listed.bytes) != (file.sha256, file.bytes):
        return "is not the file that was sealed"
    if not is_landing(file.path):
        return "is no landing file"
    try:
        with context.reader.open(of.prefix + file.path) as stream:
            header = stream.read(HEADER_BYTES)
    except (FileNotFoundError, TargetError, OSError):
        return None  # erased, or the check of the cut's files reports it
    try:
        named = key_named(header)
    except EncryptedFileError:
        return "is not encrypted"
    if named != (date.fromisoformat(statement.night), bytes.fromhex(statement.key_id)):
        return "is encrypted under another key"
    return None
