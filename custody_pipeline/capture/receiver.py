"""The webhook receiver: `POST /events`, answered 202 only when the event is durable.

Belongs here: HTTP. Does not: calling the vendor (worker.py, later), the meaning of an event (envelopes.py).

| answer | when |
|---|---|
| 202 `accepted`, `duplicate` | the event is in the queue, now or already |
| 400 `not_json`, `body_incomplete` | signed, but not JSON; or the sender went away |
| 401 `signature_…`, `timestamp_…` | see `io.signature` |
| 404, 405 | another path, another method; there are no redirects |
| 408 `too_slow` | the body was not complete in time |
| 413 `too_large` | more bytes than allowed, announced or not |
| 415 `compressed`, `not_json_type` | a Content-Encoding, or another Content-Type than JSON |
| 422 | an unknown envelope, or a malformed id: see `capture.envelopes.EnvelopeError` |
| 503 `disk_full`, `queue_unavailable`, `busy` | not durable: send it again after Retry-After |

`GET /health` answers 200 while the queue can be used, even if events wait to be stored. An answer has a code and
nothing of the request. Connections without a complete request are limited in number (the oldest is closed), in time
and in the size of their headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from custody_pipeline.capture.envelopes import EnvelopeError, parse_event
from custody_pipeline.capture.messages import EventQueue, Message, PutOutcome, QueueError
from custody_pipeline.io.signature import HEADER, SignatureError, Verifier
from custody_pipeline.settings import Settings

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
# Events that arrive within this time share a commit: a little latency for much throughput.
GATHER_SECONDS = 0.002
HEADER_SECONDS = 10.0
# A request must be complete within this time.
BODY_SECONDS = 10.0
# Base64, which SQS may need, makes a body a third larger; SQS holds 256 KiB.
MAX_BODY_BYTES = 128 * 1024
# A signature is valid for this long; a sender's clock may be this far ahead.
REPLAY_SECONDS, SKEW_SECONDS = 300, 30
# Requests that wait for the disk or SQS; more are answered 503.
MAX_WAITING = 2000
HEADER_BYTES = 16 * 1024
# Connections without a complete request, so without a signature. Above this number the oldest are closed.
MAX_IDLE = 500
HEALTH_SECONDS = 2.0
# A refused body is read a little further, so that the sender sees the answer instead of a broken connection.
_DRAIN_BYTES = 1024 * 1024
_DRAIN_SECONDS = 1.0
_BATCH = 500
_BACKLOG = 2048
_ACCEPTED_AT_ONCE = 32
_OPEN_FILES = 65_536
_NO_STORE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class _Refused(Exception):  # noqa: N818 - never leaves the module
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


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
        except Exception as caught:  # noqa: BLE001 - whatever it is, the senders are told and the loop goes on
            error = caught if isinstance(caught, QueueError) else None
            logger.error("%d events were not stored and their senders told so: %s", len(batch), caught)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if outcome == "failed":
                future.set_exception(error or QueueError("queue_unavailable", "the event was not stored"))
            else:
                future.set_result(outcome)


def create_app(settings: Settings, queue: EventQueue, *, clock: Callable[[], float] = time.time) -> Starlette:
    """The ASGI application.

    Args:
        queue: where accepted events go; the caller closes it.
        clock: seconds since 1970.

    Raises:
        SettingsError: no webhook secret is set.
    """
    verifier = Verifier(settings.webhook_keys, REPLAY_SECONDS, SKEW_SECONDS)
    commits = GroupCommit(queue, MAX_WAITING)

    async def receive(request: Request) -> Response:
        try:
            _check_headers(request, MAX_BODY_BYTES)
            body = await _read(request, MAX_BODY_BYTES, BODY_SECONDS)
            outcome = await commits.put(_message(request, body, verifier, clock()))
        except _Refused as refusal:
            return await _refuse(request, refusal.status, refusal.code)
        except SignatureError as error:
            return await _refuse(request, 401, error.code)
        except EnvelopeError as error:
            return await _refuse(request, 400 if error.code == "not_json" else 422, error.code)
        except QueueError as error:
            return await _refuse(request, 503, error.code)
        return _answer(202, "duplicate" if outcome == "duplicate" else "accepted")

    async def health(_request: Request) -> Response:
        try:
            await commits.check()
        except QueueError as error:
            return _answer(503, error.code)
        return _answer(200, "ok")

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(commits.run())
        try:
            yield
        finally:
            commits.close()
            await task

    app = Starlette(
        routes=[Route("/events", receive, methods=["POST"]), Route("/health", health, methods=["GET"])],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def make_server(
    settings: Settings,
    queue: EventQueue,
    *,
    certificate: str | None = None,
    private_key: str | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> uvicorn.Server:
    """The receiver as a server that is not running yet.

    Args:
        queue: where accepted events go; the caller closes it.
        certificate: PEM file, for TLS without a proxy.
        on_ready: called once connections are accepted.

    Raises:
        SettingsError: no webhook secret is set.
    """
    config = uvicorn.Config(
        create_app(settings, queue),
        http=_BoundedProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_WAITING + MAX_IDLE + 100,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=15,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
        loop="asyncio" if certificate else "auto",  # uvloop does not ask `_Listener` for connections
    )
    return _Server(config, on_ready)


def serve(
    settings: Settings,
    queue: EventQueue,
    *,
    host: str = "127.0.0.1",
    port: int = 8787,
    certificate: str | None = None,
    private_key: str | None = None,
    on_ready: Callable[[str], None] = logger.info,
) -> None:
    """Run the receiver until SIGINT or SIGTERM; requests under way are finished first.

    Args:
        queue: where accepted events go; the caller closes it.
        port: 0 lets the system choose.
        certificate: PEM file, for TLS without a proxy.
        on_ready: called with the base URL once connections are accepted.

    Raises:
        SettingsError: no webhook secret is set.
        OSError: the address cannot be listened on.
    """
    _open_many_files()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=_BACKLOG) as listener:
        scheme = "https" if certificate else "http"
        address = f"[{host}]" if ":" in host else host
        url = f"{scheme}://{address}:{listener.getsockname()[1]}"
        server = make_server(
            settings, queue, certificate=certificate, private_key=private_key, on_ready=lambda: on_ready(url)
        )
        server.run(sockets=[listener])


def _open_many_files() -> None:
    """Raise the limit of open files, often 1,024: fewer than the connections that may wait for a TLS handshake."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.is_ssl:
            loop: Any = asyncio.get_running_loop()
            # uvicorn has no option for this time, and asyncio waits a minute.
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=HEADER_SECONDS)
            sockets = [_Listener(fileno=listener.dup().detach()) for listener in sockets or ()] or None
        await super().startup(sockets)
        if self.started:
            self._on_ready()


_SHAKING: WeakValueDictionary[int, socket.socket] = WeakValueDictionary()
"""Connections whose TLS handshake has not ended, by their files, the oldest first."""


class _Listener(socket.socket):
    """Limits connections in a TLS handshake: no protocol object knows of a connection before its handshake ends."""

    _accepted = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if self._accepted == _ACCEPTED_AT_ONCE:
            raise BlockingIOError  # connections that are closing need their turn to close
        connection, address = super().accept()
        if self._accepted == 0:
            asyncio.get_running_loop().call_soon(self._go_on)
        self._accepted += 1
        _SHAKING.pop(connection.fileno(), None)
        _SHAKING[connection.fileno()] = connection
        while len(_SHAKING) > _most_idle():
            file, oldest = next(iter(_SHAKING.items()))
            del _SHAKING[file]
            with contextlib.suppress(OSError):  # closed already
                oldest.shutdown(socket.SHUT_RDWR)
        return connection, address

    def _go_on(self) -> None:
        self._accepted = 0


def _most_idle() -> int:
    """The limit of waiting connections: a quarter of the files for handshakes, a quarter idle, half for requests."""
    if sys.platform == "win32":
        return MAX_IDLE
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_IDLE if soft == resource.RLIM_INFINITY else min(MAX_IDLE, soft // 4)


_IDLE: WeakKeyDictionary[ServerState, dict[_BoundedProtocol, None]] = WeakKeyDictionary()
"""The connections of each server without a complete request, the oldest first."""


class _BoundedProtocol(HttpToolsProtocol):
    """Limits unsigned input: the time and size of headers, and the number of connections that wait for a request.

    uvicorn itself has none of these limits.
    """

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _parsed_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if (connection := transport.get_extra_info("socket")) is not None:
            _SHAKING.pop(connection.fileno(), None)
        self._watch(0)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._idle.pop(self, None)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._parsed_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._rest()

    @property
    def _idle(self) -> dict[_BoundedProtocol, None]:
        return _IDLE.setdefault(self.server_state, {})

    def _count(self, parsed: int) -> None:
        """Count the size of headers. Headers may arrive in one piece, so what the parser found counts as well."""
        self._parsed_bytes += parsed
        if self._parsed_bytes > HEADER_BYTES:
            raise ValueError("Request headers are too long.")  # the parser answers 400

    def _watch(self, received: int) -> None:
        whole = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if whole:
            self._idle.pop(self, None)
        else:
            self._rest()
        if self.cycle is not None and not self.cycle.response_complete:
            self._disarm()
            return
        self._head_bytes += received
        if self._head_bytes > HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("Request headers are too long.")
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _rest(self) -> None:
        """Wait for a request; if too many connections wait, the one that waits the longest is closed."""
        if self.transport.is_closing():
            return
        self._idle.setdefault(self)
        while len(self._idle) > _most_idle():
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.transport.close()

    def _disarm(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _check_headers(request: Request, limit: int) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise _Refused(415, "compressed")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise _Refused(415, "not_json_type")
    announced = request.headers.get("content-length", "0")
    if not announced.isdigit() or int(announced) > limit:
        raise _Refused(413, "too_large")


async def _read(request: Request, limit: int, seconds: float) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _Refused(413, "too_large")
    except TimeoutError:
        raise _Refused(408, "too_slow") from None
    except ClientDisconnect:
        raise _Refused(400, "body_incomplete") from None
    return bytes(body)


def _message(request: Request, body: bytes, verifier: Verifier, now: float) -> Message:
    verifier.verify(request.headers.get(HEADER), body, now=now)
    event = parse_event(body)
    return Message(event.event_id, event.conversation_id, body, datetime.fromtimestamp(now, UTC))


async def _refuse(request: Request, status: int, code: str) -> Response:
    client = request.client.host if request.client else "unknown"
    logger.warning("Refused a call from %s: %d %s.", client, status, code)
    if status in {413, 415}:
        with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
            await _drain(request)
    return _answer(status, code)


async def _drain(request: Request) -> None:
    left = _DRAIN_BYTES
    async with asyncio.timeout(_DRAIN_SECONDS):
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                return


def _answer(status: int, code: str) -> Response:
    headers = dict(_NO_STORE)
    if status == 503:
        headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    if status in {400, 408, 413, 415}:
        headers["connection"] = "close"
    return Response(f'{{"status":"{code}"}}', status, headers, "application/json")
