"""S3 clients that do something else at a chosen call, or whose process dies there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

_WRITING = ("put_", "copy_", "delete_", "create_", "upload_", "complete_")


class Killed(BaseException):
    """The process is gone; nothing that runs afterwards counts."""


class KilledClient:
    """Delegates to a client until the `number`-th writing call; from there on every call fails.

    Args:
        client: the real one.
        number: which writing call, from 0; None only counts.
        done: the fatal call still reaches S3, and only its answer is lost.
    """

    def __init__(self, client: Any, number: int | None = None, *, done: bool = False) -> None:
        self._client = client
        self._number = number
        self._done = done
        self._lock = threading.Lock()
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                mine = self.calls
                self.calls += name.startswith(_WRITING)
                if self._number is not None and mine >= self._number:
                    if self._done and mine == self._number and name.startswith(_WRITING):
                        method(*args, **kwargs)
                    raise Killed
            return method(*args, **kwargs)

        return call if callable(method) else method


class Replaced:
    """Delegates to a client, except for the methods in `instead`: each gets the client's own method and the request."""

    def __init__(self, client: Any, **instead: Callable[..., Any]) -> None:
        self._client, self._instead = client, instead

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return partial(self._instead[name], method) if name in self._instead else method
