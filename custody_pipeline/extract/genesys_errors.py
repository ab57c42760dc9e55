"""How a request to the Genesys Cloud API fails, by what a caller can do about it.

    GenesysError
    ├── LoginError            the login service refused the client, or the API refuses a fresh token
    ├── PermanentError        the same request gets the same answer
    │   ├── BadRequest        400 and other client errors
    │   ├── Forbidden         403: a permission or a division, never a size or a load
    │   ├── NotFound          404, 410
    │   ├── TooLarge          413
    │   ├── NotOffered        501
    │   ├── UnexpectedAnswer  a redirect, a body that is not JSON, or JSON of another shape
    │   └── JobFailed         an asynchronous job ended FAILED, CANCELLED or EXPIRED, or never ended
    └── TransientError        a later request may succeed; raised after the last attempt
        ├── NoAnswer          connection refused or lost, timeout, or no token because the login is in trouble
        └── BadAnswer         the API answered, but not the question
            ├── RateLimited   429
            ├── ServerTrouble 408, 421, 425, and 5xx except 501
            ├── ShortBody     the body broke off
            ├── ShortList     a listing gave fewer items than it states
            └── NotReady      2xx, but not 200: the answer is not there yet, or is only a part

A collection that one request fails goes on with the others (`except FAILED`, `except ANSWERED`).
"""

# Exceptions are named for what happened, as httpx does.
# ruff: noqa: N818

from __future__ import annotations

from typing import ClassVar


class GenesysError(Exception):
    """A request that did not succeed: the request, the answer, the remedy.

    The text holds no token and no query string, and only the error code of the answer's body. `body`: the answer as
    received, if its shape is wrong.
    """

    advice: ClassVar[str] = ""
    permanent: ClassVar[bool] = True

    def __init__(
        self,
        request: str,
        outcome: str,
        *,
        status: int | None = None,
        code: str | None = None,
        correlation_id: str | None = None,
        attempts: int = 1,
        retry_after: float | None = None,
        body: bytes | None = None,
    ):
        self.request, self.outcome, self.body = request, outcome, body
        self.status, self.code, self.correlation_id = status, code, correlation_id
        self.attempts, self.retry_after = attempts, retry_after
        super().__init__(request, outcome)

    @property
    def told(self) -> str:
        """The text without the advice."""
        parts = [f"{self.request}: {self.outcome}"]
        if self.code:
            parts.append(f"code {self.code}")
        if self.correlation_id:
            parts.append(f"correlation id {self.correlation_id}")
        parts.append(f"{self.attempts} attempt{'s' if self.attempts != 1 else ''}")
        return ", ".join(parts)

    def __str__(self) -> str:
        return self.told + (f". {self.advice}" if self.advice else "")


class LoginError(GenesysError):
    """The client could not log in, or its fresh token is refused."""

    advice = (
        "Check CUSTODY_GENESYS_DOMAIN, CUSTODY_GENESYS_CLIENT_ID and CUSTODY_GENESYS_CLIENT_SECRET, "
        "and that the OAuth client is active and uses the client credentials grant."
    )


class PermanentError(GenesysError):
    """The same request gets the same answer."""


class BadRequest(PermanentError):
    """400, or another client error."""


class Forbidden(PermanentError):
    """403: the client lacks a permission, or its roles do not cover the division."""

    advice = "Give the OAuth client's role this permission, in this division."


class NotFound(PermanentError):
    """404 or 410: no such thing, or not for this client."""


class TooLarge(PermanentError):
    """413: ask for less at once."""


class NotOffered(PermanentError):
    """501: this organisation or gateway does not offer the operation."""


class UnexpectedAnswer(PermanentError):
    """An answer that the API does not give: a redirect, a body that is not JSON, or JSON of another shape."""

    advice = "Check that CUSTODY_GENESYS_DOMAIN names the API itself and that no proxy answers in its place."


class JobFailed(PermanentError):
    """An asynchronous job ended without success, or did not end in time."""

    advice = "Run the night again; the job is submitted again."


class TransientError(GenesysError):
    """A later request may succeed."""

    permanent = False
    advice = "Run the night again later."


class BadAnswer(TransientError):
    """The API answered, but not the question."""


class RateLimited(BadAnswer):
    """429: too many requests."""


class ServerTrouble(BadAnswer):
    """408, 421 or 425, which RFC 9110 and RFC 8470 allow to ask again, or a 5xx other than 501."""


class NoAnswer(TransientError):
    """No connection, a lost connection, a timeout, or no token because the login is in trouble."""

    advice = (
        "Check the network, CUSTODY_GENESYS_DOMAIN, and HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE if they are set. "
        "Then run the night again."
    )


class ShortBody(BadAnswer):
    """The body ended before its length or its encoding says."""


class ShortList(BadAnswer):
    """A listing gave fewer items than it states: pages were repeated, items moved, or a page was cut short."""


class NotReady(BadAnswer):
    """2xx, but not 200: accepted, no content, or a part of the content."""


FAILED = (PermanentError, TransientError)
"""Every error of one request; after a LoginError, every other request fails as well."""
ANSWERED = (PermanentError, BadAnswer)
"""As `FAILED`, without NoAnswer: the API itself may be gone."""
