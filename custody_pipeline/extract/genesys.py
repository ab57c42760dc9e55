"""The Genesys Cloud API over HTTP: login, retries, paging.

Belongs here: how a request is made and what its answer's status means. Does not: which requests a night makes, or what
a document holds.
"""

from __future__ import annotations

import collections
import logging
import queue
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import OK
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from tenacity import RetryCallState, Retrying, retry_if_exception_type
from urllib3.exceptions import HTTPError

from custody_pipeline.extract.documents import fields_of, items_of, stands_twice, text_of, value_of
from custody_pipeline.extract.genesys_errors import (
    BadAnswer,
    BadRequest,
    Forbidden,
    GenesysError,
    LoginError,
    NoAnswer,
    NotFound,
    NotOffered,
    NotReady,
    PermanentError,
    RateLimited,
    ServerTrouble,
    ShortBody,
    ShortList,
    TooLarge,
    TransientError,
    UnexpectedAnswer,
)
from custody_pipeline.extract.rate_limiter import RateLimiter
from custody_pipeline.io.http import Bearer, Pause, Session, body_of, is_token, kind_of, retry_after
from custody_pipeline.settings import Settings

logger = logging.getLogger(__name__)

TIMEOUT = (10, 60)
MAX_IN_FLIGHT = 8
MAX_ATTEMPTS = 5
MAX_THROTTLED = 20
# The vendor's own command line stops beyond this.
MAX_RETRY_AFTER = 180.0
FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
# A wait of this length is logged.
LONG_WAIT = 10.0
MAX_PAGES = 100_000
MAX_REPEATED_CURSORS = 3
# Far above any page of the API: an endless body must not fill the machine's memory.
MAX_BODY_BYTES = 256 * 1024 * 1024
# Seconds; used if the login's answer does not state the token's lifetime.
_SHORT_LIFETIME = 300.0


@dataclass(frozen=True)
class Answer:
    """A successful answer: the body as received."""

    request: str
    body: bytes
    status: int
    correlation_id: str | None

    def json(self) -> Any:
        """The parsed body; None for an empty one.

        Raises:
            UnexpectedAnswer: the body is not JSON.
        """
        if not self.body:
            return None
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise self.unexpected("the body is not JSON") from error

    def object(self) -> dict[str, Any]:
        """The parsed body, which must be a JSON object.

        Raises:
            UnexpectedAnswer: it is none.
        """
        found = self.json()
        if not isinstance(found, dict):
            raise self.unexpected("unexpected shape: no JSON object")
        return found

    def unexpected(self, outcome: str) -> UnexpectedAnswer:
        """An error that describes this answer and keeps its bytes."""
        return UnexpectedAnswer(
            self.request, outcome, status=self.status, correlation_id=self.correlation_id, body=self.body
        )


def entities_of(page: Answer) -> list[bytes]:
    """The elements of `entities` of one page of a listing, each as its own bytes.

    Raises:
        UnexpectedAnswer: the page holds no list of entities, and does not state either that there are none.
    """
    items = items_of(page.body, "entities")
    fields = fields_of(page.body) or {}
    is_empty = any(bytes(fields.get(name) or b"") == b"0" for name in ("total", "pageCount"))
    if items is None or not ("entities" in fields or is_empty):
        raise page.unexpected("unexpected shape: no list of entities")
    return items


@dataclass(frozen=True)
class Identity:
    """The API client that collects: from `GET /api/v2/tokens/me`."""

    organization_id: str | None
    organization_name: str | None
    client_id: str | None
    client_name: str | None

    def __str__(self) -> str:
        return f"{self.client_name or 'OAuth client'} ({self.client_id})"


@dataclass
class Counters:
    """The client's counts so far."""

    requests: int = 0
    retries: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, *, retry: bool) -> None:
        """Count a request; `retry` if it repeats an earlier one."""
        with self._lock:
            self.requests += 1
            self.retries += retry


@dataclass(frozen=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float
    generation: int


def _code(body: bytes) -> str | None:
    """The error body's `code` (API) or `error` (login), if it looks like a code."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    code = (parsed.get("code") or parsed.get("error")) if isinstance(parsed, dict) else None
    return code if isinstance(code, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,80}", code) else None


_BY_STATUS: dict[int, type[GenesysError]] = {
    401: LoginError,
    403: Forbidden,
    404: NotFound,
    408: ServerTrouble,
    410: NotFound,
    413: TooLarge,
    421: ServerTrouble,
    425: ServerTrouble,
    429: RateLimited,
    501: NotOffered,
}


def _failure(request: str, response: requests.Response, body: bytes) -> GenesysError | None:
    """The error of a status; None for a success. The status decides; codes are only reported."""
    status = response.status_code
    if 200 <= status < 300:
        return None
    kind = _BY_STATUS.get(status)
    if kind is None:
        kind = ServerTrouble if status >= 500 else BadRequest if status >= 400 else UnexpectedAnswer
    return kind(
        request,
        f"HTTP {status}",
        status=status,
        code=_code(body),
        correlation_id=_correlation_id(response),
        retry_after=retry_after(response.headers),
    )


def _query_in(next_uri: str | None) -> dict[str, str | int | bool]:
    """The parameters in the address of the next page. The address itself is not followed."""
    try:
        return {name: values[0] for name, values in parse_qs(urlsplit(next_uri or "").query).items()}
    except ValueError:
        return {}


def _correlation_id(response: requests.Response) -> str | None:
    value = response.headers.get("ININ-Correlation-Id", "")
    return value if re.fullmatch(r"[A-Za-z0-9-]{1,80}", value) else None


class GenesysClient:
    """Requests to one organisation. Safe to use from several threads; at most `MAX_IN_FLIGHT` are in flight.

    A request that waits for its next attempt is not in flight: any number of threads may wait. Connections are kept.
    Only the hosts of the settings are called: paths are joined to them, redirects and `nextUri` are not followed.
    `sleep`, `clock` (monotonic seconds) and `jitter` (0 ≤ x < 1) are seams for tests. Every method that sends a request
    raises `GenesysError`: the module's tree says which.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ):
        self._settings = settings
        self.sleep, self._clock, self._jitter = sleep, clock, jitter
        self._limiter = RateLimiter(settings.genesys_requests_per_minute, sleep=sleep, clock=clock)
        self._token: _Token | None = None
        self._login_lock = threading.Lock()
        # One place per request in flight. The place used last is taken first, so that few connections stay open.
        self._sessions: queue.LifoQueue[requests.Session | None] = queue.LifoQueue()
        for _ in range(MAX_IN_FLIGHT):
            self._sessions.put(None)
        self.counters = Counters()

    def __enter__(self) -> GenesysClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection that is not in use."""
        for session in list(self._sessions.queue):
            if session is not None:
                session.close()

    def get(self, path: str, **params: str | int | bool) -> Answer:
        """GET `path` (from `/api/…`)."""
        query = {name: str(value).lower() if isinstance(value, bool) else value for name, value in params.items()}
        return self._api("GET", path, params=query)

    def whole(self, path: str, **params: str | int | bool) -> Answer:
        """As `get`. Raises `NotReady` for a 2xx other than 200: the answer is not there yet, or is only a part."""
        answer = self.get(path, **params)
        if answer.status != OK:
            raise NotReady(answer.request, f"HTTP {answer.status}", status=answer.status)
        return answer

    def post(self, path: str, body: object) -> Answer:
        """POST `body` as JSON. Retried like a GET: a second query, job or trigger does no harm."""
        return self._api("POST", path, data=orjson.dumps(body))

    def put(self, path: str, body: object) -> Answer:
        """PUT `body` as JSON: the whole resource, so a repeated request does no harm."""
        return self._api("PUT", path, data=orjson.dumps(body))

    def delete(self, path: str) -> Answer:
        """DELETE `path`. `NotFound` is raised also when an answer was lost and the request was repeated."""
        return self._api("DELETE", path)

    def pages(self, path: str, **params: str | int | bool) -> Iterator[Answer]:
        """All pages of a listing with `pageNumber`, `nextUri` and `pageCount`, with a cursor, or with another token.

        The cursor is the field `cursor` of a page, or only a part of `nextUri` (the SDK's
        `RecordingRetentionCursorEntityListing`), as other tokens (`next_page` of `get_orphanrecordings`). An empty page
        is not the end while more is announced. The caller removes repeated items: items move between pages.

        Raises:
            UnexpectedAnswer: a page is no JSON object, or the listing never ends.
        """
        asked: collections.Counter[frozenset[tuple[str, object]]] = collections.Counter()
        query: dict[str, str | int | bool] = params
        for number in range(1, MAX_PAGES + 1):
            answer = self.whole(path, **query)
            if fields_of(answer.body) is None:
                raise answer.unexpected("unexpected shape: the page is not a JSON object")
            yield answer
            try:
                cursor, following, count = (value_of(answer.body, name) for name in ("cursor", "nextUri", "pageCount"))
            except ValueError as error:
                raise answer.unexpected("the next page cannot be read") from error
            if stands_twice(answer.body, "cursor", "nextUri", "pageCount"):
                raise answer.unexpected("the next page is named twice")
            if not isinstance(count, int | None):
                raise answer.unexpected("unexpected shape: `pageCount` is not a number")
            if not (isinstance(cursor, str | None) and isinstance(following, str | None)):
                raise answer.unexpected("unexpected shape: the next page is not named by a text")
            if not (cursor or following or number < (count or 0)):
                return
            more = {"cursor": cursor} if cursor else _query_in(following)
            query = {**more, **params}
            if "pageNumber" in more or not more.keys() - params.keys():
                query["pageNumber"] = number + 1
            asked[frozenset(query.items())] += 1
            if asked[frozenset(query.items())] > MAX_REPEATED_CURSORS:
                raise UnexpectedAnswer(answer.request, "the listing repeats its cursor without an end")
        raise UnexpectedAnswer(f"GET {path}", f"the listing has more than {MAX_PAGES} pages")

    def entities(self, path: str, **params: str | int | bool) -> Iterator[bytes]:
        """The elements of `entities` on all pages of a listing, each as its own bytes.

        Raises:
            UnexpectedAnswer: a page holds no list of entities, or pages without anything new do not end.
            ShortList: after the last element: a page states a higher `total` than different elements came (one may have
                moved to a page that was read before), or the last page is full and does not say that it is the last.
        """
        came: set[str | bytes] = set()
        most = repeated = is_open = 0
        for page in self.pages(path, **params):
            before, items = len(came), entities_of(page)
            for item in items:
                came.add(text_of(item, "id") or item)
                yield item
            repeated = repeated + 1 if items and len(came) == before else 0
            if repeated > MAX_REPEATED_CURSORS:
                raise UnexpectedAnswer(page.request, "the listing repeats its pages without an end")
            try:
                total, count = value_of(page.body, "total"), value_of(page.body, "pageCount")
            except ValueError:
                total = count = "odd"
            if not isinstance(total, int | None):
                raise page.unexpected("unexpected shape: `total` is not a number")
            most = max(most, total or 0)
            # Of later pages, the one that names no next page is the last.
            is_full = len(items) >= int(params.get("pageSize", len(items) + 1))
            is_open = is_full and not before and total is count is None
        if most > len(came):
            raise ShortList(f"GET {path}", f"{len(came)} of {most} entities came")
        if is_open:
            raise ShortList(f"GET {path}", "the last page is full and does not say that it is the last")

    def identity(self) -> Identity:
        """Whose token this is. Raises `LoginError` when the credentials are wrong."""
        me = self.get("/api/v2/tokens/me").object()

        def named(part: str, field: str) -> str | None:
            holder = me.get(part)
            found = holder.get(field) if isinstance(holder, dict) else None
            return found if isinstance(found, str) else None

        return Identity(*(named(part, field) for part in ("organization", "OAuthClient") for field in ("id", "name")))

    def _api(self, method: str, path: str, **arguments: Any) -> Answer:
        if not path.startswith("/api/"):
            raise ValueError(f"not an API path: {path!r}")
        url = self._settings.api_url + path
        if "data" in arguments:
            arguments["headers"] = {"Content-Type": "application/json"}
        token = self._current_token()

        def bearer() -> Bearer:
            # A token may expire while a request waits to be sent again.
            nonlocal token
            token = self._current_token(not_older_than=token.generation)
            return Bearer(token.value)

        try:
            return self._persist(method, url, path, bearer, **arguments)
        except LoginError:
            # The token expired early or was revoked. Each request gets one new token, which all waiting threads share.
            token = self._current_token(not_older_than=token.generation + 1)
            return self._persist(method, url, path, bearer, **arguments)

    def _current_token(self, not_older_than: int = 0) -> _Token:
        with self._login_lock:
            token = self._token
            if token is None or token.generation < not_older_than or self._clock() >= token.renew_at:
                token = self._token = self._login(generation=token.generation + 1 if token else 0)
            return token

    def _login(self, generation: int) -> _Token:
        secret = self._settings.genesys_client_secret
        assert self._settings.genesys_client_id is not None  # noqa: S101 - Settings has all three or none
        assert secret is not None  # noqa: S101
        try:
            answer = self._persist(
                "POST",
                f"{self._settings.login_url}/oauth/token",
                "/oauth/token",
                # As bytes: requests would encode a text as Latin-1, which cannot hold every character.
                lambda: HTTPBasicAuth(
                    str(self._settings.genesys_client_id).encode(), secret.get_secret_value().encode()
                ),
                data={"grant_type": "client_credentials"},
            )
            granted = answer.object()
            if not is_token(granted.get("access_token")):
                raise answer.unexpected("no access_token in the answer")
        # What was asked for is not at fault, whatever the status. No bytes are kept: they may hold a token.
        except PermanentError as error:
            raise LoginError(error.request, error.outcome, status=error.status, code=error.code) from error
        except BadAnswer as error:
            raise NoAnswer(error.request, error.outcome, code=error.code, attempts=error.attempts) from error
        lives = granted.get("expires_in")
        lifetime = float(lives) if isinstance(lives, int | float) and lives > 0 else _SHORT_LIFETIME
        logger.debug("Logged in; the token lives %.0f s.", lifetime)
        return _Token(granted["access_token"], self._clock() + lifetime - min(60.0, lifetime / 10), generation)

    # Not urllib3's Retry: it does not wait for our shared rate limiter, does not pause other threads on a 429, counts
    # nothing, cannot be given a clock, and does not see a body that breaks off after the headers.
    def _persist(self, method: str, url: str, path: str, auth: Callable[[], AuthBase], **arguments: Any) -> Answer:
        throttled = 0

        def ask() -> Answer:
            arguments["auth"] = auth()  # before a place is taken: a login needs one itself
            with self._session() as session:
                self._limiter.acquire()
                self.counters.count(retry=retrying.statistics["attempt_number"] > 1)
                return self._once(session, method, url, path, **arguments)

        def gives_up(state: RetryCallState) -> bool:
            nonlocal throttled
            error = _failed(state)
            error.attempts = state.attempt_number
            throttled += isinstance(error, RateLimited)
            if (error.retry_after or 0) > MAX_RETRY_AFTER:
                return True
            return throttled > MAX_THROTTLED or state.attempt_number - throttled >= MAX_ATTEMPTS

        def before_sleep(state: RetryCallState) -> None:
            error, wait = _failed(state), state.upcoming_sleep
            level = logging.WARNING if wait >= LONG_WAIT else logging.INFO
            logger.log(level, "  · %s: %s; asking again in %.0f s", error.request, error.outcome, wait)
            if isinstance(error, RateLimited):
                self._limiter.pause(wait)

        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=Pause(FIRST_WAIT, LONGEST_WAIT, self._jitter),
            stop=gives_up,
            sleep=self.sleep,
            before_sleep=before_sleep,
            reraise=True,
        )
        return retrying(ask)

    def _once(self, session: requests.Session, method: str, url: str, path: str, **arguments: Any) -> Answer:
        request = f"{method} {path}"
        try:
            with session.request(method, url, timeout=TIMEOUT, stream=True, **arguments) as response:
                body = body_of(response, MAX_BODY_BYTES)
        except EOFError as error:
            raise ShortBody(request, str(error)) from None
        # The causes hold URLs with query strings, so they are named by their kind only. OSError: of requests, or a CA
        # bundle that is missing.
        except (OSError, HTTPError) as error:
            raise NoAnswer(request, f"no answer ({kind_of(error)})") from None
        except ValueError as error:
            status, correlation_id = response.status_code, _correlation_id(response)
            raise UnexpectedAnswer(request, str(error), status=status, correlation_id=correlation_id) from None
        self._limiter.heed(response.headers)
        if failure := _failure(request, response, body):
            raise failure
        return Answer(request, body, response.status_code, _correlation_id(response))

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        session = self._sessions.get()
        try:
            if session is None:
                session = _new_session()
            yield session
        finally:
            self._sessions.put(session)


def _failed(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)  # noqa: S101 - nothing else is asked again
    return error


def _new_session() -> requests.Session:
    session = Session()
    session.headers["User-Agent"] = f"custody-pipeline/{version('custody-pipeline')}"
    session.headers["Accept"] = "application/json"
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=2, pool_maxsize=2))
    return session
