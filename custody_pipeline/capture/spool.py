"""A local durable queue: one SQLite file, for organisations without SQS.

Belongs here: the spool. Does not: HTTP, envelopes, SQS.

SQLite in WAL mode with `synchronous=FULL` calls fsync in each commit, so a stored event survives kill -9 and a power
failure. Callers put batches: one fsync serves all events that arrived during the last one. Event ids are unique while
they are remembered, which makes duplicates and replays harmless. A conversation is leased to one worker at a time.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from custody_pipeline.capture.messages import Delivery, Message, PutOutcome, QueueError, QueueMetrics

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    conversation_id TEXT NOT NULL,
    body BLOB NOT NULL,
    received_at REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'dead')),
    visible_at REAL NOT NULL,
    receipt TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    done_at REAL
) STRICT;
CREATE INDEX IF NOT EXISTS events_waiting ON events (visible_at, seq) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS events_leased ON events (conversation_id) WHERE state = 'waiting' AND receipt IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_received ON events (received_at) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS events_dead ON events (seq) WHERE state = 'dead';
CREATE INDEX IF NOT EXISTS events_done ON events (done_at) WHERE state = 'done';
"""

_LEASE = """
UPDATE events SET receipt = :receipt, visible_at = :until, attempts = attempts + 1
WHERE seq IN (
    SELECT seq FROM events AS free
    WHERE state = 'waiting' AND visible_at <= :now AND NOT EXISTS (
        SELECT 1 FROM events AS held
        WHERE held.state = 'waiting' AND held.receipt IS NOT NULL AND held.visible_at > :now
          AND held.conversation_id = free.conversation_id
    )
    ORDER BY visible_at, seq LIMIT :limit
)
RETURNING seq, body, received_at, attempts
"""

# Longer than any delay or lease of a worker.
_LONGEST_WAIT = 7200.0


class Spool:
    """The queue in a SQLite file. Any number of processes may have it open; within one, threads may share it."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, busy_seconds: float = 10.0) -> None:
        """Open or create the file at `path`.

        Raises:
            QueueError: the file cannot be opened or is no spool.
        """
        self._clock = clock
        self._lock = threading.Lock()
        with _translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
            try:
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("PRAGMA synchronous=FULL")
                self._database.executescript(_SCHEMA)
            except sqlite3.Error:
                self._database.close()
                raise

    def put(self, messages: Sequence[Message]) -> list[PutOutcome]:
        """Store `messages` in one commit; known event ids are duplicates."""
        now = self._clock()
        with self._transaction() as database:
            return [
                "stored"
                if database.execute(
                    "INSERT INTO events (event_id, conversation_id, body, received_at, visible_at) "
                    "VALUES (?, ?, ?, ?, ?) ON CONFLICT (event_id) DO NOTHING",
                    (message.event_id, message.conversation_id, message.body, message.received_at.timestamp(), now),
                ).rowcount
                else "duplicate"
                for message in messages
            ]

    def receive(self, limit: int, lease_seconds: float) -> list[Delivery]:
        """Lease the oldest messages, none of a conversation that another lease holds."""
        now = self._clock()
        token = secrets.token_hex(8)
        values = {"receipt": token, "now": now, "until": now + lease_seconds, "limit": limit}
        with self._transaction() as database:
            # A clock that was ahead wrote these times.
            database.execute(
                "UPDATE events SET visible_at = ?, receipt = NULL WHERE state = 'waiting' AND visible_at > ?",
                (now, now + max(lease_seconds, _LONGEST_WAIT)),
            )
            rows = database.execute(_LEASE, values).fetchall()
        return [
            Delivery(f"{seq}.{token}", body, datetime.fromtimestamp(received_at, UTC), attempts)
            for seq, body, received_at, attempts in sorted(rows)
        ]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Forget the bodies and remember the ids, unless the lease was lost meanwhile."""
        now = self._clock()
        self._settle("state = 'done', body = x'', receipt = NULL, done_at = :value", now, deliveries)

    def release(self, deliveries: Sequence[Delivery], delay_seconds: float) -> None:
        """Let others have the messages after `delay_seconds`."""
        self._settle("receipt = NULL, visible_at = :value", self._clock() + delay_seconds, deliveries)

    def set_aside(self, deliveries: Sequence[Delivery], reason: str) -> None:
        """Keep the messages as dead letters."""
        self._settle("state = 'dead', receipt = NULL, reason = :value", reason, deliveries)

    def retry_dead(self, limit: int | None = None) -> int:
        """Put dead letters back, oldest first."""
        with self._transaction() as database:
            return database.execute(
                "UPDATE events SET state = 'waiting', attempts = 0, reason = NULL, visible_at = ? "
                "WHERE seq IN (SELECT seq FROM events WHERE state = 'dead' ORDER BY seq LIMIT ?)",
                (self._clock(), -1 if limit is None else limit),
            ).rowcount

    def dead(self) -> list[tuple[str, str, date]]:
        """Event, conversation and day of receipt (UTC) of the events set aside, oldest first."""
        with self._transaction("DEFERRED") as database:
            rows = database.execute(
                "SELECT event_id, conversation_id, received_at FROM events WHERE state = 'dead' ORDER BY seq"
            ).fetchall()
        return [(event, name, datetime.fromtimestamp(received_at, UTC).date()) for event, name, received_at in rows]

    def forget_dead(self, event_ids: Sequence[str]) -> int:
        """Forget the bodies of dead letters and remember their ids; returns how many."""
        now = self._clock()
        with self._transaction() as database:
            return database.executemany(
                "UPDATE events SET state = 'done', body = x'', reason = NULL, done_at = ? "
                "WHERE state = 'dead' AND event_id = ?",
                [(now, event_id) for event_id in event_ids],
            ).rowcount

    def metrics(self) -> QueueMetrics:
        """Counts of this moment."""
        with self._transaction("DEFERRED") as database:
            depth, oldest = database.execute(
                "SELECT count(*), min(received_at) FROM events WHERE state = 'waiting'"
            ).fetchone()
            (leased,) = database.execute(
                "SELECT count(*) FROM events WHERE state = 'waiting' AND receipt IS NOT NULL AND visible_at > ?",
                (self._clock(),),
            ).fetchone()
            (dead,) = database.execute("SELECT count(*) FROM events WHERE state = 'dead'").fetchone()
        return QueueMetrics(depth, leased, dead, None if oldest is None else datetime.fromtimestamp(oldest, UTC))

    def forget_handled(self, older_than_seconds: float) -> int:
        """Drop the ids of messages that were handled longer ago; returns how many."""
        with self._transaction() as database:
            return database.execute(
                "DELETE FROM events WHERE state = 'done' AND done_at < ?", (self._clock() - older_than_seconds,)
            ).rowcount

    def write_anew(self) -> None:
        """Write the file again without freed pages: SQLite leaves the bytes of forgotten bodies in them."""
        with self._lock, _translated():
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _settle(self, assignment: str, value: float | str, deliveries: Sequence[Delivery]) -> None:
        rows = []
        for delivery in deliveries:
            seq, _, token = delivery.receipt.partition(".")
            rows.append({"value": value, "seq": int(seq), "receipt": token})
        with self._transaction() as database:
            database.executemany(
                f"UPDATE events SET {assignment} WHERE seq = :seq AND receipt = :receipt AND state = 'waiting'", rows
            )

    @contextlib.contextmanager
    def _transaction(self, kind: Literal["DEFERRED", "IMMEDIATE"] = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """A transaction. A DEFERRED one that only reads neither waits for writers nor blocks them."""
        with self._lock, _translated():
            self._database.execute(f"BEGIN {kind}")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """SQLite's and the file system's errors as `QueueError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
        code = "disk_full" if full else "queue_unavailable"
        raise QueueError(code, f"the spool cannot be used ({error}); free space or check the file") from error
