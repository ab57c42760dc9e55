"""How many requests the Genesys Cloud API takes in a minute.

Belongs here: when the next request may be sent. Does not: whether a request is repeated (genesys.py).
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Mapping


class RateLimiter:
    """At most `per_minute` requests in any minute, fewer when the answers' headers say so.

    Bursts are allowed, as the vendor counts per minute and not per second. Its minute begins when a request arrives,
    which is after it was sent, and it tells the minute's end in whole seconds: `MARGIN` is waited besides.
    """

    WINDOW, MARGIN = 60.0, 1.0

    def __init__(self, per_minute: int, *, sleep: Callable[[float], None], clock: Callable[[], float]):
        self._per_minute = per_minute
        self._sleep, self._clock = sleep, clock
        self._lock = threading.Lock()
        self._sent: collections.deque[float] = collections.deque()
        self._budget: int | None = None
        self._budget_ends = 0.0
        self._paused_until = 0.0

    def acquire(self) -> None:
        """Wait until one more request may be sent."""
        while (wait := self._try_acquire()) > 0:
            self._sleep(wait)

    def _try_acquire(self) -> float:
        with self._lock:
            now = self._clock()
            while self._sent and self._sent[0] <= now - self.WINDOW - self.MARGIN:
                self._sent.popleft()
            if now >= self._budget_ends:
                self._budget = None
            wait = max(0.0, self._paused_until - now)
            if len(self._sent) >= self._per_minute:
                wait = max(wait, self._sent[0] + self.WINDOW + self.MARGIN - now)
            if self._budget is not None and self._budget <= 0:
                wait = max(wait, self._budget_ends - now)
            if wait <= 0:
                self._sent.append(now)
                if self._budget is not None:
                    self._budget -= 1
            return wait

    def heed(self, headers: Mapping[str, str]) -> None:
        """Take the window's state from `inin-ratelimit-count`, `-allowed` and `-reset` (seconds, at most `WINDOW`)."""
        try:
            count, allowed = int(headers["inin-ratelimit-count"]), int(headers["inin-ratelimit-allowed"])
            reset = float(headers["inin-ratelimit-reset"])
        except (KeyError, ValueError):
            return
        with self._lock:
            now = self._clock()
            left = allowed - count
            # The server has not counted requests in flight, but our budget has: use the lower number.
            fresh = self._budget is None or now >= self._budget_ends
            self._budget = left if fresh or self._budget is None else min(self._budget, left)
            self._budget_ends = now + min(max(0.0, reset), self.WINDOW) + self.MARGIN

    def pause(self, seconds: float) -> None:
        """Send nothing for `seconds`, as the server's Retry-After asks."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)
