"""The results of an interrupted run, so that the next run does not repeat the work.

Belongs here: keeping answers by their question, one line of JSON each. Does not: what a question is; a question must
name everything that its answer depends on.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

KEPT = timedelta(days=1)
"""A file that is older is discarded: a verdict must rest on bytes that were read recently."""


class ResumeCache(MutableMapping[str, str]):
    """Questions and answers. Each answer is on disk as soon as it is set. Several threads may share a cache.

    A killed process loses at most the line that it was writing; a full disk, what it does not take. A `with` block that
    ends without an exception ends the work, and removes the file.

    Args:
        path: the file; its folder is made. A link in its place is refused.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._made = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.begun = datetime.now(UTC)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o600)
        self._answers = self._read()
        self.taken_over = len(self._answers)

    def _read(self) -> dict[str, str]:
        """The answers of a run that did not finish; none if that run began too long ago."""
        try:
            with open(self._file, "rb", closefd=False) as stream:
                first, *lines = stream.read().split(b"\n")
            begun = datetime.fromisoformat(orjson.loads(first))
            if not timedelta() <= self.begun - begun <= KEPT:
                raise ValueError("too old")
        except (OSError, ValueError, TypeError):
            os.ftruncate(self._file, 0)
            os.write(self._file, orjson.dumps(self.begun.isoformat()) + b"\n")
            return {}
        self.begun = begun
        answers = {}
        for line in lines:
            try:
                question, answer = orjson.loads(line)
            except (ValueError, TypeError):  # torn when the process was killed
                continue
            answers[str(question)] = str(answer)
        return answers

    def __getitem__(self, question: str) -> str:
        return self._answers[question]

    def __setitem__(self, question: str, answer: str) -> None:
        # The line feed comes first, so that a line that a killed run left half written stays separate.
        # A question may name a file whose name is not UTF-8: orjson refuses it, and such an answer is not taken up.
        line = f"\n{json.dumps([question, answer])}\n".encode()
        with self._lock, suppress(OSError):  # without it the work can be done, but not resumed
            self._answers[question] = answer
            os.write(self._file, line)

    def __delitem__(self, question: str) -> None:
        raise TypeError("a resume cache keeps its answers until the work is done")

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)

    def close(self) -> None:
        """Keep what is known for the next run."""
        os.close(self._file)

    def finish(self) -> None:
        """Forget everything: the work is done."""
        self.close()
        self._path.unlink(missing_ok=True)
        # Verifying a copy must leave no folder behind.
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()

    def __enter__(self) -> ResumeCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Remove the file after success; keep it after a failure, to resume the work."""
        if kind is None:
            self.finish()
        else:
            self.close()


def resume_cache_of(home: Path, name: str) -> ResumeCache:
    """The resume cache of the work `name` (also the file's name) in a home.

    Raises:
        OSError: nothing can be written there.
    """
    return ResumeCache(home / "interrupted" / f"{name}.ndjson")


def resume_cache_of_user(name: str) -> ResumeCache:
    """The resume cache of work outside any home: in `$XDG_STATE_HOME/custody`, which only the user may write.

    Raises:
        OSError: this user cannot write there, or another user can.
    """
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "custody"
    if not folder.is_absolute():
        raise PermissionError(f"{folder}: XDG_STATE_HOME must be an absolute path")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or (
        os.name == "posix" and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022)
    ):
        raise PermissionError(f"{folder}: not a folder that only its owner may write")
    return ResumeCache(folder / f"{name}.ndjson")
