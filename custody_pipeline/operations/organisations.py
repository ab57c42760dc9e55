"""One page over several organisations: which nights each has published, and whether they claim to be complete.

Only the pointers below `current/` of each published prefix are read. The page therefore needs neither a home nor a
database of an organisation, and shows no recording.

Belongs here: reading the list and the pointers, and the page. Does not: an organisation's own nights (summary.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.evidence.cut.manifest import pointer_path
from custody_pipeline.evidence.reader import TargetError
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.concurrency import in_order
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.io.whole_file import why_unreadable
from custody_pipeline.pages import render
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.current_copies import PointerError, read_pointer
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.warehouse.night_states import DUE_AFTER

_AT_ONCE = 8
_WORDS = {"established": "complete", "incomplete": "incomplete", "not_established": "not established"}


@dataclass(frozen=True)
class Organisation:
    """A line of the list."""

    name: str
    place: S3Location


@dataclass(frozen=True)
class PublishedNight:
    """A cell of the page. `words`: the night's claim, or `missing` if nothing is published."""

    night: date
    words: str
    revision: int | None


@dataclass(frozen=True)
class Row:
    """An organisation's nights, newest first; `problem`: why they cannot be read."""

    name: str
    nights: tuple[PublishedNight, ...] = ()
    problem: str = ""

    @property
    def counts(self) -> Counter[str]:
        """Number of nights by claim."""
        return Counter(night.words for night in self.nights)

    @property
    def is_well(self) -> bool:
        """Whether every night is published and claims to be complete."""
        return not self.problem and set(self.counts) <= {"complete"}


def read_organisations(path: Path) -> list[Organisation]:
    """A file of lines `NAME s3://bucket/prefix`; `#` begins a comment.

    Raises:
        SettingsError: the file cannot be read, or a line has another form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{why_unreadable(error)}; expected lines NAME s3://bucket/prefix") from error
    found: dict[str, Organisation] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not words[1].startswith("s3://") or words[0] in found:
            raise SettingsError(f"{path}:{number}: expected NAME s3://bucket/prefix, each name once")
        found[words[0]] = Organisation(words[0], S3Location.parse(words[1]))
    if not found:
        raise SettingsError(f"{path} names no organisation; expected lines NAME s3://bucket/prefix")
    return list(found.values())


def rows(settings: Settings, organisations: list[Organisation], nights: int) -> list[Row]:
    """The last nights of each organisation, in the order of the list. A night is due three hours after its end."""
    last = (utc_now() - DUE_AFTER).date() - timedelta(days=1)
    days = [last - timedelta(days=number) for number in range(nights)]
    return [row for _, row in in_order(lambda one: _row(settings, one, days), organisations, workers=_AT_ONCE)]


def _row(settings: Settings, organisation: Organisation, days: list[date]) -> Row:
    reader = S3Reader(s3_client(settings), organisation.place)
    try:
        there = {entry.path for entry in reader.list("current/")}
        return Row(organisation.name, tuple(_nights(reader, there, days)))
    except (PointerError, TargetError, FileNotFoundError) as error:
        return Row(organisation.name, problem=str(error))


def _nights(reader: S3Reader, there: set[str], days: list[date]) -> Iterator[PublishedNight]:
    for day in days:
        path = pointer_path(day.isoformat())
        if path not in there:
            yield PublishedNight(day, "missing", None)
            continue
        told = read_pointer(reader, path)
        yield PublishedNight(day, _WORDS.get(str(told.complete), "not established"), told.revision)


def page(found: list[Row]) -> str:
    """The rows as one HTML file without script."""
    folder = PACKAGE_DIR / "operations" / "templates"
    days = [night.night for row in found for night in row.nights]
    return render(folder, "organisations.html", rows=found, days=days, made_at=f"{utc_now():%Y-%m-%d %H:%M}")
