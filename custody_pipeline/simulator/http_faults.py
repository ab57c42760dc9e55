"""Faults between the organisation and its client, on request: statuses, delays, cut bodies, odd pages.

Belongs here: which request gets which fault. Does not: the data of the organisation (`organization`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from custody_pipeline.simulator.identity import Draws, number

STATUS_CODES = {
    400: "bad.request",
    401: "authentication.required",
    403: "missing.permissions",
    404: "not.found",
    408: "client.timeout",
    413: "request.entity.too.large",
    429: "too.many.requests",
    500: "internal.server.error",
    501: "not.implemented",
    502: "bad.gateway",
    503: "service.unavailable",
    504: "request.timeout",
}
# Faults that replace or delay the whole answer; then those of its body, of a page, of a job.
KINDS = (
    *map(str, STATUS_CODES),
    *("latency", "expired_token", "drop"),
    *("short_body", "empty_body", "cut_body", "not_json", "not_utf8", "nan"),
    *("drift", "empty_page", "repeated_cursor"),
    *("job_failed", "job_cancelled", "job_expired", "job_stuck"),
)


@dataclass(frozen=True)
class HttpFault:
    """A fault of the HTTP service.

    Attributes:
        kind: a status (`429`), or one of `latency`, `expired_token` (401, and the token is gone), `drop` (connection
            cut after the headers), `short_body` (cut in the middle of the announced bytes), `empty_body`, `cut_body`
            (half a document, and a Content-Length that agrees), `not_json`, `not_utf8`, `nan`, `drift` (a page repeats
            the last item of the page before), `empty_page` (with a cursor), `repeated_cursor`, `job_failed`,
            `job_cancelled`, `job_expired`, `job_stuck`.
        route: a regular expression searched for in `METHOD /path`.
        count: how often; None for always.
        probability: of each matching request; drawn from the service's seed.
        after: how many matching requests are answered without the fault first.
        retry_after: seconds announced with a 429 or 503; None: nothing is announced.
    """

    kind: str
    route: str = ""
    count: int | None = 1
    probability: float = 1.0
    after: int = 0
    seconds: float = 0.1
    retry_after: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such HTTP fault: {self.kind!r}; there are {', '.join(KINDS)}")
        re.compile(self.route)

    @classmethod
    def parse(cls, text: str) -> HttpFault:
        """`429 route=recordingmetadata count=3 retry_after=1` → the fault; `count=always` for every request.

        Raises:
            ValueError: an unknown kind or word, or a value of the wrong form.
        """
        kind, *words = text.split()
        given: dict[str, Any] = {"kind": kind}
        for word in words:
            name, _, value = word.partition("=")
            if name not in _PARSERS:
                raise ValueError(f"{word!r} is none of {', '.join(f'{known}=' for known in _PARSERS)}")
            given[name] = _PARSERS[name](value)
        return cls(**given)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> HttpFault:
        """The fault of a JSON object with the attributes as its fields.

        Raises:
            ValueError: an unknown field or kind.
        """
        unknown = sorted(document.keys() - {field.name for field in fields(cls)})
        if unknown or "kind" not in document:
            raise ValueError(f"an HTTP fault has a kind and no {', '.join(unknown) or 'other fields'}")
        return cls(**document)


_PARSERS: dict[str, Callable[[str], Any]] = {
    "route": str,
    "count": lambda value: None if value == "always" else int(value),
    "probability": float,
    "after": int,
    "seconds": float,
    "retry_after": int,
}


class HttpFaults:
    """The active faults; each request asks for its fault."""

    def __init__(self, seed: int, given: tuple[HttpFault, ...] = ()):
        self._draws = Draws(number("http-faults", seed))
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self.add(*given)

    def add(self, *given: HttpFault) -> None:
        """Add faults."""
        with self._lock:
            self._rules += [_Rule(fault, fault.count, fault.after) for fault in given]

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._rules.clear()

    def take(self, request: str, *kinds: str) -> HttpFault | None:
        """The first active fault of these kinds for `METHOD /path`; it then counts as used once."""
        with self._lock:
            return next(
                (rule.fault for rule in self._rules if rule.fault.kind in kinds and self._hits(rule, request)), None
            )

    def _hits(self, rule: _Rule, request: str) -> bool:
        if rule.left == 0 or not re.search(rule.fault.route, request):
            return False
        if rule.spared > 0:
            rule.spared -= 1
            return False
        if not self._draws.chance(rule.fault.probability):
            return False
        if rule.left is not None:
            rule.left -= 1
        return True


@dataclass
class _Rule:
    fault: HttpFault
    left: int | None
    spared: int
