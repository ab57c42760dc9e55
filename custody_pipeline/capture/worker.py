"""The capture worker: events off the queue, conversations read, documents written.

Belongs here: the handling of each event, and the choice to try it again or to set it aside. Does not: HTTP in either
direction, document formats, schedules (Dagster's sensor calls `CaptureWorker.drain`).

A killed worker loses nothing: its messages return to the queue, and each document is written once, by any worker. A
conversation that cannot be read now (vendor down, too many requests, no login) is tried again with growing delays. One
that can never be read becomes a dead letter with its reason. A drain stops early when the vendor is down, so that an
outage does not use up the attempts of every waiting event.
"""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import OK
from typing import Protocol

from botocore.exceptions import BotoCoreError, ClientError

from custody_pipeline.capture.captured import Conversation, Reading, conversation_facts, write_capture, write_event
from custody_pipeline.capture.envelopes import CustodyEvent, EnvelopeError, parse_event
from custody_pipeline.capture.links import AudioLinker
from custody_pipeline.capture.messages import Delivery, EventQueue
from custody_pipeline.extract.documents import document
from custody_pipeline.extract.genesys import Answer, GenesysClient
from custody_pipeline.extract.genesys_errors import (
    BadAnswer,
    Forbidden,
    GenesysError,
    LoginError,
    NotFound,
    NotReady,
    PermanentError,
    TransientError,
    UnexpectedAnswer,
)
from custody_pipeline.io.document_store import DocumentStore
from custody_pipeline.io.night_keys import NightForgottenError, NightKeyError
from custody_pipeline.io.objects import UploadError
from custody_pipeline.settings import Settings

logger = logging.getLogger(__name__)

# Share of CUSTODY_GENESYS_REQUESTS_PER_MINUTE, so that enough is left for the nightly run.
RATE_SHARE = 0.5
# Readings that may fail with transient errors before an event becomes a dead letter: three to five hours.
MAX_ATTEMPTS = 12
# The messages of a killed worker stay leased for this time; longer than the reading of one lease.
LEASE_SECONDS = 900.0
LEASED_AT_ONCE = 50
FIRST_DELAY_SECONDS = 30.0
LONGEST_DELAY_SECONDS = 3600.0
# A conversation may become readable a little after its first event.
NOT_FOUND_ATTEMPTS = 3
# An answer that is no conversation is kept, and asked for again: a proxy may have answered.
UNREADABLE_ATTEMPTS = 3
FAILURES_IN_A_ROW = 3


class ConversationReader(Protocol):
    """The part of `GenesysClient` that capture uses; the client keeps the rate limit."""

    def get(self, path: str) -> Answer:
        """GET a path of the API; raises `GenesysError`."""


@dataclass
class DrainReport:
    """The result of one drain.

    Attributes:
        unchanged: conversations whose content was known.
        erased: messages about erased conversations, of which nothing is kept.
        set_aside: messages that became dead letters, by reason.
        linked: recordings whose audio was tied to a capture.
        oldest: when the oldest leased message was received (UTC); SQS does not state the age of waiting messages.
        lags: seconds from each event (its own time, otherwise its arrival) to the reading for it.
        stopped: why the drain ended before the queue was empty: `time`, `vendor_unavailable`, `login_refused`,
            `store_unavailable`; None if it was empty.
    """

    events: int = 0
    captures: int = 0
    unchanged: int = 0
    erased: int = 0
    released: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    linked: int = 0
    oldest: datetime | None = None
    lags: list[float] = field(default_factory=list)
    stopped: str | None = None


@dataclass(frozen=True)
class _Item:
    delivery: Delivery
    event: CustodyEvent


def capture_client(settings: Settings) -> GenesysClient:
    """A client that uses capture's share of the rate limit."""
    share = max(1, int(settings.genesys_requests_per_minute * RATE_SHARE))
    return GenesysClient(settings.model_copy(update={"genesys_requests_per_minute": share}))


class CaptureWorker:
    """Drains one queue. Several workers, in one process or many, may drain the same queue."""

    def __init__(
        self,
        queue: EventQueue,
        reader: ConversationReader,
        store: DocumentStore,
        *,
        linker: AudioLinker | None = None,
        erased: Callable[[], frozenset[str]] = frozenset,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Put the parts together.

        Args:
            linker: ties audio that is already exported to the capture.
            erased: conversations of which nothing is kept, in lower case; asked at the start of each drain.
            clock: seconds since 1970.
            jitter: 0 ≤ x < 1, spreads retries.
        """
        self._queue, self._reader, self._store, self._linker = queue, reader, store, linker
        self._clock, self._jitter = clock, jitter
        self._failures, self._answering = 0, False
        self._erased, self._forgotten = erased, frozenset[str]()

    def drain(self, *, max_seconds: float) -> DrainReport:
        """Handle events until the queue is empty, time is over, or nothing can be done now.

        Raises:
            QueueError: the queue cannot be used.
        """
        report = DrainReport()
        self._failures, self._answering = 0, False
        self._forgotten = self._erased()
        end = self._clock() + max_seconds
        while report.stopped is None:
            # A lease counts as an attempt: until the vendor answers, only messages that are tried at once are leased.
            limit = LEASED_AT_ONCE if self._answering else 1
            deliveries = self._queue.receive(limit, LEASE_SECONDS)
            if not deliveries:
                break
            ages = [delivery.received_at for delivery in deliveries]
            report.oldest = min([*ages, report.oldest] if report.oldest else ages)
            self._handle_all(deliveries, end, report)
        return report

    def _handle_all(self, deliveries: Sequence[Delivery], end: float, report: DrainReport) -> None:
        for items in self._by_conversation(deliveries, report):
            if report.stopped is None and self._clock() >= end:
                report.stopped = "time"
            if report.stopped is None:
                self._handle(items, report)
            else:
                self._release(items, 0, report)

    def _by_conversation(self, deliveries: Sequence[Delivery], report: DrainReport) -> list[list[_Item]]:
        items = []
        for delivery in deliveries:
            try:
                items.append(_Item(delivery, parse_event(delivery.body)))
            except EnvelopeError as error:
                self._set_aside([delivery], error.code, report)
        items.sort(key=lambda item: (item.event.conversation_id, item.delivery.received_at))
        groups = itertools.groupby(items, key=lambda item: item.event.conversation_id)
        return [list(group) for _, group in groups]

    def _handle(self, items: list[_Item], report: DrainReport) -> None:
        if items[0].event.conversation_id in self._forgotten:
            self._drop(items, report)
            return
        try:
            self._capture(items, report)
        except NightForgottenError:
            self._drop(items, report)
        except (OSError, BotoCoreError, ClientError, UploadError, NightKeyError) as error:
            report.stopped = "store_unavailable"
            reason = str(error) if isinstance(error, NightKeyError) else type(error).__name__
            logger.error("Capture stopped: documents cannot be stored (%s).", reason)
            self._release(items, FIRST_DELAY_SECONDS, report)

    def _drop(self, items: list[_Item], report: DrainReport) -> None:
        """Keep nothing: the conversation was erased, or the key of its night was forgotten."""
        self._queue.acknowledge([item.delivery for item in items])
        report.events += len(items)
        report.erased += len(items)

    def _capture(self, items: list[_Item], report: DrainReport) -> None:
        conversation_id = items[0].event.conversation_id
        try:
            reading, missing = self._read(conversation_id)
            if missing is not None:
                self._write(reading, items, report)
                raise missing
        except LoginError as error:
            report.stopped = "login_refused"
            logger.error("Capture stopped: %s", error)
            self._release(items, FIRST_DELAY_SECONDS, report)
        except TransientError as error:
            logger.warning("Conversation %s is read later: %s", conversation_id, error)
            self._failures += 1
            self._answering = False
            if self._failures >= FAILURES_IN_A_ROW:
                report.stopped = "vendor_unavailable"
            self._later(items, MAX_ATTEMPTS, "vendor_unavailable", report)
        except NotFound:
            self._heard()
            self._later(items, NOT_FOUND_ATTEMPTS, "conversation_not_found", report)
        except GenesysError as error:
            self._heard()
            reason = "conversation_forbidden" if isinstance(error, Forbidden) else "conversation_unreadable"
            logger.warning("Conversation %s is set aside (%s): %s", conversation_id, reason, error)
            self._give_up(items, reason, report)
        else:
            self._heard()
            self._keep(reading, items, report)

    def _heard(self) -> None:
        """Note that the vendor answered."""
        self._failures, self._answering = 0, True

    def _read(self, conversation_id: str) -> tuple[Reading, GenesysError | None]:
        """A conversation, and why its typed attributes are to be read later: it is kept without them meanwhile."""
        observed_at = datetime.fromtimestamp(self._clock(), UTC)
        path = f"/api/v2/conversations/{conversation_id}"
        conversation = self._body(path)
        custom, missing = None, None
        try:
            custom = self._typed_attributes(f"{path}/customattributes")
        except PermanentError as error:
            logger.debug("No typed attributes: %s", error)
        except GenesysError as error:
            missing = error
        return Reading(conversation_id, observed_at, conversation, custom), missing

    def _typed_attributes(self, path: str) -> bytes:
        try:
            body = self._body(path)
        except UnexpectedAnswer as error:  # a redirect, or no end: nothing that the API refuses
            raise BadAnswer(error.request, error.outcome) from None
        if (state := document(body).state) in {"not_json", "truncated"}:
            raise BadAnswer(f"GET {path}", f"the answer is {state}")
        return body

    def _body(self, path: str) -> bytes:
        answer = self._reader.get(path)
        if answer.status != OK:
            raise NotReady(answer.request, f"HTTP {answer.status}", status=answer.status)
        return answer.body

    def _write(self, reading: Reading, items: list[_Item], report: DrainReport) -> Conversation:
        facts = conversation_facts(reading.conversation_id, document(reading.conversation))
        first = items[0]
        written = write_capture(self._store, reading, facts, first.event, first.delivery.received_at)
        report.captures += written is not None
        report.unchanged += written is None
        return facts

    def _keep(self, reading: Reading, items: list[_Item], report: DrainReport) -> None:
        facts = self._write(reading, items, report)
        if facts.state != "ok":
            logger.warning("Conversation %s is read again: the answer is %s", reading.conversation_id, facts.state)
            self._later(items, UNREADABLE_ATTEMPTS, "conversation_unreadable", report)
            return
        self._keep_events(items, facts.start, "captured")
        if self._linker is not None and facts.start is not None:
            report.linked += self._linker.link(reading.conversation_id, facts.start)
        self._queue.acknowledge([item.delivery for item in items])
        report.events += len(items)
        report.lags += [
            max(0.0, (reading.observed_at - (item.event.event_time or item.delivery.received_at)).total_seconds())
            for item in items
        ]

    def _keep_events(self, items: list[_Item], start: datetime | None, outcome: str) -> None:
        for item in items:
            received_at = item.delivery.received_at
            write_event(
                self._store, item.event, item.delivery.body, received_at=received_at, start=start, outcome=outcome
            )

    def _later(self, items: list[_Item], most: int, reason: str, report: DrainReport) -> None:
        """Try again with a growing delay, until the messages were leased `most` times."""
        attempts = max(item.delivery.attempts for item in items)
        if attempts >= most:
            self._give_up(items, reason, report)
        else:
            longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (attempts - 1))
            self._release(items, longest * (0.5 + self._jitter() / 2), report)

    def _give_up(self, items: list[_Item], reason: str, report: DrainReport) -> None:
        self._keep_events(items, None, reason)
        self._set_aside([item.delivery for item in items], reason, report)

    def _release(self, items: list[_Item], delay: float, report: DrainReport) -> None:
        self._queue.release([item.delivery for item in items], delay)
        report.released += len(items)

    def _set_aside(self, deliveries: Sequence[Delivery], reason: str, report: DrainReport) -> None:
        self._queue.set_aside(deliveries, reason)
        report.set_aside[reason] = report.set_aside.get(reason, 0) + len(deliveries)
