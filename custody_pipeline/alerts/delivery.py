"""One HTTP request to an alert endpoint, retried until it is accepted, refused or out of time.

Belongs here: timeouts, retries, Retry-After, and errors without secrets. Does not: the content.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from tenacity import Retrying, before_sleep_log, retry_if_exception_type
from urllib3.exceptions import HTTPError

from custody_pipeline.alerts.alert import DeliveryError
from custody_pipeline.io.http import Pause, Session, body_of, kind_of, retry_after

logger = logging.getLogger(__name__)

TIMEOUT = (5, 30)
MAX_ATTEMPTS = 4
CHANNEL_SECONDS = 300.0  # after this time a channel leaves the rest to the next run
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
MOST_BYTES = 8 << 20

_PASSING = {408, 425, 429, 500, 502, 503, 504}


class RefusedError(Exception):
    """An answer that a retry would not change."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class TroubleError(DeliveryError):
    """No answer, or one that may change later. `status` is None without an answer; `retry_after` is in seconds."""

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None):
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


@dataclass
class Patience:
    """How long a channel may try. `deadline` is a time of `clock` (monotonic seconds). The callables are test seams."""

    max_attempts: int = MAX_ATTEMPTS
    seconds: float = CHANNEL_SECONDS
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = self.clock() + self.seconds

    @property
    def is_over(self) -> bool:
        """Whether the time is over: nothing more should begin."""
        return self.clock() >= self.deadline

    def retrying(self, attempts: int | None = None) -> Retrying:
        """Retries after a `TroubleError`; `attempts` lowers the number of tries."""
        tries = attempts or self.max_attempts
        return Retrying(
            retry=retry_if_exception_type(TroubleError),
            wait=Pause(FIRST_WAIT, LONGEST_WAIT, self.jitter),
            stop=lambda state: state.attempt_number >= tries or self.clock() + state.upcoming_sleep > self.deadline,
            sleep=self.sleep,
            before_sleep=before_sleep_log(logger, logging.INFO),
            reraise=True,
        )


class Accepted(NamedTuple):
    """An answer with a status of 2xx. `next`: the address of the next page, or empty."""

    body: bytes
    next: str


class Http:
    """Requests of one channel. Redirects are not followed: a signed or authorised call must not go elsewhere."""

    def __init__(self, channel: str, patience: Patience):
        self.channel, self.patience = channel, patience
        self._session = Session()
        # Credentials only from the settings, not from ~/.netrc. Proxies and CA bundles of the environment still apply.
        self._session.auth = _no_auth

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def request(self, method: str, url: str, *, attempts: int | None = None, **arguments: Any) -> Accepted:
        """Send until it succeeds; `attempts` lowers the patience's number of tries.

        Raises:
            RefusedError: a 3xx or 4xx that a retry would not change.
            TroubleError: the tries are used up.
            DeliveryError: the request cannot be sent at all.
        """
        what = f"{self.channel}: {method} {urlsplit(url).hostname}"
        tries = attempts or self.patience.max_attempts

        def ask() -> Accepted:
            count = f"{retrying.statistics['attempt_number']} of {tries} tries"
            try:
                with self._session.request(method, url, timeout=TIMEOUT, stream=True, **arguments) as response:
                    status = response.status_code
                    if 200 <= status < 300:
                        return Accepted(body_of(response, MOST_BYTES), response.links.get("next", {}).get("url", ""))
            # The cause holds the address, which is a secret for some channels.
            except (requests.ConnectionError, requests.Timeout, EOFError, TimeoutError) as error:
                raise TroubleError(f"{what}: no answer ({kind_of(error)}), {count}", None) from None
            except (OSError, HTTPError, ValueError) as error:
                raise DeliveryError(f"{what}: {type(error).__name__}") from None
            if status not in _PASSING:
                raise RefusedError(f"{what}: HTTP {status}", status)
            raise TroubleError(f"{what}: HTTP {status}, {count}", status, retry_after(response.headers))

        retrying = self.patience.retrying(attempts)
        return retrying(ask)


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
