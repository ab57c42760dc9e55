"""One HTTP request to somebody's alert endpoint, tried until it is taken, refused or out of time.

Belongs here: timeouts, retries, Retry-After, and errors without secrets. Does not: what is sent.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from custody_pipeline.alerts.alert import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

TIMEOUT = (5, 30)
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0

_PASSING = {408, 425, 429, 500, 502, 503, 504}


class RefusedError(Exception):
    """An answer that asking again would not change."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class TroubleError(DeliveryError):
    """No answer, or one that may be another later, after all tries. `status` is None without an answer."""

    def __init__(self, message: str, status: int | None):
        super().__init__(message)
        self.status = status


@dataclass
class Patience:
    """How long a channel may try. `deadline` is on `clock` (monotonic seconds); all but the numbers are test seams."""

    max_attempts: int
    seconds: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = self.clock() + self.seconds

    @property
    def is_over(self) -> bool:
        """True when nothing more should be begun."""
        return self.clock() >= self.deadline

    def wait(self, attempt: int, retry_after: float | None = None) -> bool:
        """Wait before the try after number `attempt`; False, without waiting, when there is to be none."""
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1))
        seconds = longest * (0.5 + self.jitter() / 2) if retry_after is None else retry_after + self.jitter() / 2
        if attempt >= self.max_attempts or self.clock() + seconds > self.deadline:
            return False
        self.sleep(seconds)
        return True


class Http:
    """Requests of one channel. Redirects are not followed: a signed or authorised call goes nowhere else."""

    def __init__(self, channel: str, patience: Patience):
        self.channel, self.patience = channel, patience
        self._session = requests.Session()
        # Only what the settings say: no ~/.netrc. Proxies and CA bundles of the environment still apply.
        self._session.auth = _no_auth

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def request(self, method: str, url: str, *, attempts: int | None = None, **arguments: Any) -> requests.Response:
        """Send until there is a success; `attempts` lowers the patience's number of tries.

        Raises:
            RefusedError: a 3xx or 4xx that is no matter of time.
            TroubleError: the tries are used up.
        """
        what = f"{self.channel}: {method} {urlsplit(url).hostname}"
        attempt = 0
        while True:
            attempt += 1
            trouble, status, retry_after = "", None, None
            try:
                response = self._session.request(method, url, timeout=TIMEOUT, allow_redirects=False, **arguments)
            except (requests.ConnectionError, requests.Timeout) as error:
                # The cause holds the address, which is a secret for some channels.
                trouble = f"no answer ({type(error).__name__})"
            except requests.RequestException as error:
                raise TroubleError(f"{what}: {type(error).__name__}", None) from None
            else:
                status = response.status_code
                if 200 <= status < 300:
                    return response
                if status not in _PASSING:
                    raise RefusedError(f"{what}: HTTP {status}", status)
                trouble, retry_after = f"HTTP {status}", _retry_after(response)
            last = attempts is not None and attempt >= attempts
            if last or not self.patience.wait(attempt, retry_after):
                raise TroubleError(
                    f"{what}: {trouble}, {attempt} of {attempts or self.patience.max_attempts} tries", status
                )
            logger.info("%s: %s; trying again.", what, trouble)


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _retry_after(response: requests.Response) -> float | None:
    """Seconds of Retry-After (RFC 9110 section 10.2.3: seconds or a date)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
