"""Code that all HTTP clients share: sessions, whole bodies, pauses before a retry, Retry-After, bearer tokens.

Belongs here: how long to wait, and where a body ends. Does not: which answers are retried, and when to stop
(extract/genesys.py, alerts/delivery.py).
"""

from __future__ import annotations

import gzip
import re
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeGuard

import requests
from requests.auth import AuthBase
from tenacity import RetryCallState
from tenacity.wait import wait_base
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util.ssl_match_hostname import CertificateError

from custody_pipeline.io.clock import http_date

_CHUNK = 1 << 16
BODY_SECONDS = 300.0
"""For this time, a body may come: a server that sends a byte a minute would otherwise hold a night for ever."""


class Pause(wait_base):
    """Seconds before the next attempt: the failure's `retry_after`, otherwise doubled each time; both with jitter.

    Args:
        jitter: gives 0 ≤ x < 1.
    """

    def __init__(self, first: float, longest: float, jitter: Callable[[], float]):
        self._first, self._longest, self._jitter = first, longest, jitter

    def __call__(self, retry_state: RetryCallState) -> float:
        """The pause after the attempt in `retry_state`."""
        failure = retry_state.outcome.exception() if retry_state.outcome else None
        asked: float | None = getattr(failure, "retry_after", None)
        if asked is not None:
            return asked + self._jitter() / 2
        longest: float = min(self._longest, self._first * 2 ** (retry_state.attempt_number - 1))
        return longest * (0.5 + self._jitter() / 2)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 section 10.2.3: seconds or a date, by the clock of the server)."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    until, now = http_date(text), http_date(headers.get("Date", "")) or datetime.now(UTC)
    return None if until is None else max(0.0, (until - now).total_seconds())


class _Arriving:
    """The bytes of a body as they come; with the time limits of all of them, and of each read (the request's)."""

    def __init__(self, raw: Any) -> None:
        self._raw, self._until = raw, time.monotonic() + BODY_SECONDS

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end. Raises TimeoutError."""
        data = bytearray()
        while len(data) < size and (chunk := self._raw.read1(size - len(data))):
            data += chunk
            if time.monotonic() > self._until:
                raise TimeoutError(f"the body did not end within {BODY_SECONDS:.0f} s")
        return bytes(data)


def body_of(response: requests.Response, most: int) -> bytes:
    """The decoded body of an answer to a `Session`, which was asked for with `stream=True`.

    The decoder is not urllib3's: it takes a compressed body without its end for a whole one.

    Raises:
        EOFError: the body broke off.
        TimeoutError: the body stopped, or did not end within `BODY_SECONDS`.
        ValueError: it has more than `most` bytes, or an encoding that was not asked for.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip"}:
        raise ValueError("the body has an encoding that was not asked for")
    arriving: Any = _Arriving(response.raw)
    source = gzip.GzipFile(fileobj=arriving) if encoding.endswith("gzip") else arriving
    body = bytearray()
    try:
        while chunk := source.read(_CHUNK):
            body += chunk
            if len(body) > most:
                raise ValueError(f"the body has more than {most:,} bytes")
    except ReadTimeoutError:
        raise TimeoutError from None
    except (HTTPError, EOFError, gzip.BadGzipFile, zlib.error):
        raise EOFError("the body broke off") from None
    return bytes(body)


class Session(requests.Session):
    """A session that follows no redirect, and takes bodies plain or with gzip.

    With `allow_redirects=False`, requests still prepares the next request: it reads the whole body, however long, and
    raises ValueError for a `Location` that is no address.
    """

    def __init__(self) -> None:
        super().__init__()
        self.headers["Accept-Encoding"] = "gzip"

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: no answer leads elsewhere."""


def kind_of(error: BaseException) -> str:
    """The kind of a failed connection. Of a certificate also why it was refused; other texts may hold an address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{type(error).__name__}: {cause.verify_message}"
        if isinstance(cause, CertificateError):  # of botocore's connections, for a wrong host
            return f"{type(error).__name__}: {cause}"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def is_token(value: object) -> TypeGuard[str]:
    """Whether a login's answer gave a token that a header can carry (RFC 6749, appendix A.12)."""
    return isinstance(value, str) and bool(re.fullmatch("[!-~]+", value))


class Bearer(AuthBase):
    """A bearer token as an auth object: requests would replace a plain Authorization header by an entry of ~/.netrc."""

    def __init__(self, token: str):
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token to a request."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request
