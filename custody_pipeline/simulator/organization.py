"""One night of a Genesys Cloud organisation, drawn from (seed, night, size): calls, recordings, tags, planted faults.

Conversations are built one at a time from their index, and an id gives back its index. A night of 200,000 therefore
needs no more memory than a night of 400. Start times grow with the index.

Belongs here: the state of the organisation at a time, and the smaller nights before a night. Does not: one conversation
(conversation_builder.py), how the vendor writes it (api_documents.py), how it is exported (exporter.py) or served
(server.py).
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

from custody_pipeline.simulator.calls import Conversation, ExportJob, JobTotals
from custody_pipeline.simulator.conversation_builder import RECORDINGS_OF, ConversationBuilder
from custody_pipeline.simulator.faults import FaultPlan, Planting
from custody_pipeline.simulator.identity import conversation_ids, fraction, number, uuid_for
from custody_pipeline.simulator.structure import REGION

DEFAULT_NIGHT = date(2026, 11, 2)
DEFAULT_SIZE = 400

# Calls an hour, relative, UTC.
_TRAFFIC = (1, 1, 1, 1, 1, 2, 4, 8, 12, 14, 13, 11, 10, 12, 13, 12, 10, 8, 6, 4, 3, 2, 2, 1)
_TRAFFIC_ENDS = tuple(itertools.accumulate(_TRAFFIC))
_LONGEST_CALL = timedelta(hours=2)
_NOT_SELECTABLE = frozenset({"RECORDING_ARCHIVED", "RECORDING_DELETED"})


@dataclass(frozen=True)
class Organization:
    """A night of the organisation.

    Attributes:
        seed: decides every id, time, tag and fault.
        night: the UTC day on which the conversations start.
        size: number of conversations; there are about 1.5 recordings to each.
        now: the organisation's clock, with zone; by default 02:30 UTC on the next day, when some of the night's last
            conversations are not available yet.
        region: AWS region of the organisation and its recordings.
        exported: False for a night without export jobs of its own.
        requested_jobs: FULFILLED jobs that a client of the API created.
    """

    seed: int = 7
    night: date = DEFAULT_NIGHT
    size: int = DEFAULT_SIZE
    now: datetime | None = None
    faults: FaultPlan = field(default_factory=FaultPlan.every)
    region: str = REGION
    exported: bool = True
    requested_jobs: tuple[ExportJob, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a night has at least one conversation, not {self.size}")
        if self.now is not None and self.now.tzinfo is None:
            raise ValueError("now must be aware, for example datetime(2026, 11, 3, 2, 30, tzinfo=UTC)")

    def at(self, now: datetime) -> Organization:
        """The same organisation at another time."""
        return replace(self, now=now)

    # Time

    @cached_property
    def opening(self) -> datetime:
        """Midnight, when the night's UTC day begins."""
        return datetime(self.night.year, self.night.month, self.night.day, tzinfo=UTC)

    @cached_property
    def clock(self) -> datetime:
        """The present time of the organisation."""
        return self.now if self.now is not None else self._collection_time

    @cached_property
    def _collection_time(self) -> datetime:
        return self.opening + timedelta(days=1, hours=2, minutes=30)

    @cached_property
    def analytics_lag(self) -> timedelta:
        """How far the bulk details job is behind the clock."""
        tail = self.planting.tail
        ready = self.start_of(self.size - tail) if 0 < tail < self.size else self.opening + timedelta(days=1)
        return self._collection_time - ready

    @cached_property
    def watermark(self) -> datetime:
        """`dataAvailabilityDate`: conversations that start before it are in the bulk details job."""
        return self.clock - self.analytics_lag

    def start_of(self, index: int) -> datetime:
        """When conversation `index` starts, to the millisecond; grows with the index."""
        place = (index + fraction("start", self.seed, self.night, index)) / self.size * _TRAFFIC_ENDS[-1]
        hour = bisect.bisect_right(_TRAFFIC_ENDS, place)
        before = _TRAFFIC_ENDS[hour - 1] if hour else 0
        seconds = hour * 3600 + (place - before) / _TRAFFIC[hour] * 3600
        return self.opening + timedelta(milliseconds=int(seconds * 1000))

    # Ids

    @cached_property
    def planting(self) -> Planting:
        """The conversations that have faults."""
        return Planting(self.faults, self.size, number("night", self.seed, self.night))

    def conversation_id(self, index: int) -> str:
        """The id of conversation `index`."""
        return conversation_ids(self.seed).encode(self.night, index)

    @cached_property
    def vanishing_index(self) -> int | None:
        """The conversation whose required tag is visible for ten minutes after its end, and never again."""
        places = self.planting.indexes(["REQUIRED_TAG_MISSING"])
        return next((index for index in places if self.planting.of(index)[1] == 0), None)

    # Conversations

    def conversations(self, first: int = 0, end: int | None = None) -> Iterator[Conversation]:
        """Conversations `first` to `end` (excluded), in order of start, one at a time."""
        return map(self.conversation, range(first, self.size if end is None else min(end, self.size)))

    def active_between(self, start: datetime, end: datetime) -> range:
        """Indexes that hold every conversation active in [start, end); the first few may have ended before."""
        return range(self._first_from(start - _LONGEST_CALL), self._first_from(end))

    def _first_from(self, moment: datetime) -> int:
        return bisect.bisect_left(range(self.size), moment, key=self.start_of)

    def conversation(self, index: int) -> Conversation:
        """Build conversation `index`.

        Raises:
            IndexError: the night has no such conversation.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"conversation {index} of {self.size}")
        return ConversationBuilder(self, index).build()

    def find(self, conversation_id: str) -> Conversation | None:
        """The conversation of this id; None if it is not of this night."""
        night, index = conversation_ids(self.seed).decode(conversation_id) or (None, 0)
        return self.conversation(index) if night == self.night and index < self.size else None

    # Exports

    @cached_property
    def export_jobs(self) -> tuple[ExportJob, ...]:
        """The export jobs that were requested until now: the night's own two, overlapping by two hours, and others."""
        requested = self.opening + timedelta(days=1, minutes=15)
        halves = ((timedelta(0), timedelta(hours=13)), (timedelta(hours=11), timedelta(days=1)))
        own = (
            ExportJob(
                uuid_for("export-job", self.seed, self.night, place),
                self.opening + first,
                self.opening + last,
                requested + timedelta(minutes=5 * place),
            )
            for place, (first, last) in enumerate(halves)
            if self.exported
        )
        return tuple(job for job in own if job.requested_at <= self.clock) + self.requested_jobs

    def totals(self, job: ExportJob) -> JobTotals:
        """The report of the job once it is FULFILLED."""
        conversations = recordings = skipped = failed = 0
        for index in self.active_between(job.interval_start, job.interval_end):
            outline = ConversationBuilder(self, index)
            if not job.selects(outline.start, outline.end):
                continue
            selectable = RECORDINGS_OF[outline.kind] - bool(outline.faults.keys() & _NOT_SELECTABLE)
            conversations += selectable > 0
            recordings += selectable
            skipped += "EXPORT_EXCLUDED_SENSITIVE" in outline.faults
            failed += "EXPORT_FAILED" in outline.faults
        return JobTotals(conversations, recordings, skipped, failed)

    def failed_recordings(self, job: ExportJob) -> list[tuple[str, str]]:
        """(conversation id, recording id) of what the job fails to export."""
        candidates = map(self.conversation, self.planting.indexes(["EXPORT_FAILED"]))
        return [(item.id, item.recordings[0].id) for item in candidates if job.selects(item.start, item.end)]


SMALLER = 10
"""The last night has this many times more conversations."""

CALM = FaultPlan.only("SIDECAR_MISSING", "TAG_CHANGED_LATER")
SERIOUS = FaultPlan((("REQUIRED_TAG_MISSING", 0.4), ("EXPORT_FAILED", 0.1), ("TAG_NEVER_SET", 0.1)))
"""A new version of a script forgot its required tags, and a part of the export failed."""

SERIOUS_BEFORE = 3
"""Days from the serious night to the last one."""


def nights_of(last: Organization, number: int) -> tuple[Organization, ...]:
    """This number of nights of the organisation, oldest first; the last one is `last` itself."""
    before = [
        replace(
            last,
            night=last.night - timedelta(days=days),
            size=max(10, last.size // SMALLER + 3 * (days % 4)),
            faults=SERIOUS if days == SERIOUS_BEFORE else CALM,
        )
        for days in range(number - 1, 0, -1)
    ]
    return (*before, last)
