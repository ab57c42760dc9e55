"""Events into the queue in batches, so that many share one commit.

Belongs here: batching, and the outcome for each sender. Does not: the queues (queues.py, spool.py),
HTTP (receiver.py).
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from custody_pipeline.capture.messages import EventQueue, Message, PutOutcome, QueueError

logger = logging.getLogger(__name__)

# Events that arrive within this time share a commit: a little latency for much throughput.
GATHER_SECONDS = 0.002
HEALTH_SECONDS = 2.0
_BATCH = 500


class GroupCommit:
    """Puts events into the queue in batches: events that arrive during a write form the next batch."""

    def __init__(self, queue: EventQueue, max_waiting: int) -> None:
        self._queue = queue
        self._max_waiting = max_waiting
        self._waiting: list[tuple[Message, asyncio.Future[PutOutcome]]] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, "custody-queue")
        self._health = ThreadPoolExecutor(1, "custody-health")
        self._checking: asyncio.Future[object] | None = None

    async def put(self, message: Message) -> PutOutcome:
        """Returns once `message` is durable.

        Raises:
            QueueError: it cannot be stored; code `busy` if too many are waiting already.
        """
        if len(self._waiting) >= self._max_waiting:
            raise QueueError("busy", f"{self._max_waiting} events are waiting to be stored")
        future: asyncio.Future[PutOutcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((message, future))
        self._wake.set()
        return await future

    async def check(self) -> None:
        """Raises `QueueError` if the queue cannot be used. Never waits for events; callers share one check."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.get_running_loop().run_in_executor(self._health, self._queue.metrics)
        try:
            await asyncio.wait_for(asyncio.shield(self._checking), HEALTH_SECONDS)
        except TimeoutError:
            raise QueueError("queue_unavailable", f"no answer within {HEALTH_SECONDS} s") from None

    async def run(self) -> None:
        """Write batches until `close`, then the rest."""
        while self._waiting or not self._closing:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            await asyncio.sleep(GATHER_SECONDS)
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            await self._write(batch)
        self._thread.shutdown()
        self._health.shutdown(wait=False)

    def close(self) -> None:
        """Make `run` end."""
        self._closing = True
        self._wake.set()

    async def _write(self, batch: list[tuple[Message, asyncio.Future[PutOutcome]]]) -> None:
        messages = [message for message, _ in batch]
        error: Exception | None = None
        outcomes: list[PutOutcome] = ["failed"] * len(batch)
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._thread, self._queue.put, messages)
        except Exception as caught:  # noqa: BLE001 - the senders get an error, and the loop goes on
            error = caught if isinstance(caught, QueueError) else None
            logger.error("%d events were not stored, and their senders got an error: %s", len(batch), caught)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if outcome == "failed":
                future.set_exception(error or QueueError("queue_unavailable", "the event was not stored"))
            else:
                future.set_result(outcome)
