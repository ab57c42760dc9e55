"""The common parts of the queue's two stores: messages, deliveries, the interface, the exception.

Belongs here: data and the protocol. Does not: storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

PutOutcome = Literal["stored", "duplicate", "failed"]


class QueueError(Exception):
    """The queue cannot take or give events now; `code`: `disk_full`, `queue_unavailable` or `busy`. Try again later."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


@dataclass(frozen=True)
class Message:
    """An accepted event on its way into the queue; `body` is as received (bytes), `received_at` UTC."""

    event_id: str
    conversation_id: str
    body: bytes = field(repr=False)
    received_at: datetime


@dataclass(frozen=True)
class Delivery:
    """A message leased to one worker.

    Attributes:
        receipt: names this lease; opaque.
        attempts: how often it was leased, this time included.
    """

    receipt: str
    body: bytes = field(repr=False)
    received_at: datetime
    attempts: int


@dataclass(frozen=True)
class QueueMetrics:
    """The state of the queue.

    Attributes:
        depth: messages that are not handled yet, including leased ones.
        dead: messages that were set aside.
        oldest: when the oldest unhandled message was received (UTC); None if there is none or the store cannot tell.
    """

    depth: int
    leased: int
    dead: int
    oldest: datetime | None


class EventQueue(Protocol):
    """A durable queue, delivering at least once. Every method may raise `QueueError`."""

    def put(self, messages: Sequence[Message]) -> list[PutOutcome]:
        """Store `messages`; when it returns, each `stored` one survives the loss of this process and machine."""

    def receive(self, limit: int, lease_seconds: float) -> list[Delivery]:
        """Lease up to `limit` messages; those not acknowledged come back after `lease_seconds`."""

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """The messages are handled."""

    def release(self, deliveries: Sequence[Delivery], delay_seconds: float) -> None:
        """Give the messages back, to be delivered again after `delay_seconds`."""

    def set_aside(self, deliveries: Sequence[Delivery], reason: str) -> None:
        """Keep messages that cannot succeed as dead letters; `reason` is a stable code."""

    def retry_dead(self, limit: int | None = None) -> int:
        """Put dead letters back into the queue, with no attempts counted; returns how many."""

    def metrics(self) -> QueueMetrics:
        """Depth, leases, dead letters, oldest."""

    def close(self) -> None:
        """Close files and connections."""
