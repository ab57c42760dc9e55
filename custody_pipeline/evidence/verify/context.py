"""The running state of one verification.

Belongs here: the target, the trusted keys, where findings go. Does not: any check.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from custody_pipeline.evidence.cut.manifest import ROTATION
from custody_pipeline.evidence.cut.seal import LOG
from custody_pipeline.evidence.log.checkpoint import Checkpoint, Head
from custody_pipeline.evidence.log.note import NoteError, OtherLogError, UnknownSignerError, Verifier
from custody_pipeline.evidence.log.tiles import TileError, TileTree
from custody_pipeline.evidence.reader import NOTE_BYTES, NotAFileError, Reader, TargetError, TooLargeError, read
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.removals import Removals


@dataclass
class Context:
    """The state of a verification.

    Attributes:
        reader: the target.
        options: of the caller.
        report: has the findings.
        keys: trusted public keys: those of the options, and their successors by rotation.
        memory: results of an interrupted run; their keys include sizes and stamps of the files.
        rotated: path of a rotation statement → the old keys, and those that take over.
        trusted: number of keys, and bytes of a checkpoint that one of them signed → the checkpoint.
        tree: the published log, when its tiles lead to its signed root.
        cosigned: size of a head → witness → time of its cosignature, seconds since 1970.
        bytes_total: bytes of all files of the target, for progress.
        since: the head up to which nothing is read again, if the published log extends it.
        removals: the removals that signed statements state.
        held: path → bytes of files that were hashed; `read` returns them, so that the hashed bytes are parsed.
    """

    reader: Reader
    options: Options
    report: Report
    keys: list[Verifier] = field(init=False)
    memory: MutableMapping[str, str] = field(init=False)
    rotated: dict[str, tuple[list[Verifier], list[Verifier]]] = field(default_factory=dict)
    trusted: dict[tuple[int, bytes], Checkpoint] = field(default_factory=dict)
    tree: TileTree | None = None
    cosigned: dict[int, dict[str, int]] = field(default_factory=dict)
    bytes_total: int = 0
    since: Head | None = None
    removals: Removals = field(default_factory=Removals)
    held: dict[str, bytes] = field(default_factory=dict)
    _bytes_done: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.keys = list(self.options.public_keys)
        self.memory = {} if self.options.memory is None else self.options.memory
        if not self.keys:
            self.report.add("NO_PUBLIC_KEY")

    @property
    def quorum(self) -> int:
        """How many of the witnesses must have cosigned."""
        return len(self.options.witnesses) if self.options.quorum is None else self.options.quorum

    def advance(self, count: int) -> None:
        """Report progress in bytes; called from several threads."""
        with self._lock:
            self._bytes_done += count
            if self.options.progress is not None:
                self.options.progress("bytes", min(self._bytes_done, self.bytes_total), self.bytes_total)

    def read(self, path: str, missing: str, limit: int = NOTE_BYTES) -> bytes | None:
        """A file's bytes, at most `limit`; None with a finding."""
        held = self.held.get(path)
        if held is not None and len(held) <= limit:
            return held
        try:
            return read(self.reader, path, limit)
        except FileNotFoundError:
            self.report.add(missing, path)
        except NotAFileError as error:
            self.report.add("NOT_A_FILE", path, str(error))
        except TooLargeError as error:
            self.report.add("FILE_TOO_LARGE", path, str(error))
        except TargetError as error:
            self.report.add("FILE_UNREADABLE", path, str(error))
        return None

    def read_ahead(self, path: str, limit: int) -> bytes | None:
        """A file's bytes before its own check, which reports it if it is missing, no file, or too large."""
        try:
            return read(self.reader, path, limit)
        except (FileNotFoundError, NotAFileError, TooLargeError):
            return None
        except (TargetError, OSError) as error:
            self.report.add("FILE_UNREADABLE", path, str(error))
            return None

    def root_at(self, size: int) -> bytes | None:
        """The root of the published log at a size; None without a tree, or with a finding if a tile cannot be read."""
        try:
            return self.tree.root(size) if self.tree is not None else None
        except (TargetError, TileError, OSError) as error:
            self.report.add("FILE_UNREADABLE", LOG, str(error))
            return None

    @contextmanager
    def signature(self, path: str, unknown: str, wrong: str) -> Iterator[None]:
        """Turn a failed check of a signature into a finding.

        Args:
            path: of the signed file.
            unknown: code for a file that none of the trusted keys signed.
            wrong: code for a malformed file, or a wrong signature.
        """
        try:
            yield
        except UnknownSignerError as error:
            if self.report.unread(ROTATION):
                self.report.add("FILE_UNREADABLE", path, f"whether its key was handed over is not known: {error}")
            else:
                self.report.add(unknown, path, str(error))
        except OtherLogError as error:
            self.report.add("LOG_ORIGIN_DIFFERS", path, str(error))
        except NoteError as error:
            self.report.add(wrong, path, str(error))
