"""The webhook receiver: `POST /events`, answered 202 only when the event is durable.

Belongs here: HTTP. Does not: limits of connections (bounded_connections.py), writing to the queue (group_commit.py),
the meaning of an event (envelopes.py), calling the vendor (worker.py).

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
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from custody_pipeline.capture.bounded_connections import bounded_server, open_many_files
from custody_pipeline.capture.envelopes import EnvelopeError, parse_event
from custody_pipeline.capture.group_commit import GroupCommit
from custody_pipeline.capture.messages import EventQueue, Message, QueueError
from custody_pipeline.io.listener import listener
from custody_pipeline.io.signature import HEADER, SignatureError, Verifier
from custody_pipeline.settings import Settings

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
# A request must be complete within this time.
BODY_SECONDS = 10.0
# Base64, which SQS may need, makes a body a third larger; SQS holds 256 KiB.
MAX_BODY_BYTES = 128 * 1024
# Requests that wait for the disk or SQS; more are answered 503.
MAX_WAITING = 2000
# A refused body is read a little further, so that the sender sees the answer instead of a broken connection.
_DRAIN_BYTES = 1024 * 1024
_DRAIN_SECONDS = 1.0
_BACKLOG = 2048
_NO_STORE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class _Refused(Exception):  # noqa: N818 - never leaves the module
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


def create_app(settings: Settings, queue: EventQueue) -> Starlette:
    """The ASGI application.

    Args:
        queue: where accepted events go; the caller closes it.

    Raises:
        SettingsError: no webhook secret is set.
    """
    verifier = Verifier(settings.webhook_keys)
    commits = GroupCommit(queue, MAX_WAITING)

    async def receive(request: Request) -> Response:
        try:
            _check_headers(request, MAX_BODY_BYTES)
            body = await _read(request, MAX_BODY_BYTES, BODY_SECONDS)
            outcome = await commits.put(_message(request, body, verifier, time.time()))
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
        SettingsError: no webhook secret is set, or the address cannot be listened on.
    """
    open_many_files()
    with listener(host, port, _BACKLOG) as opened:
        scheme = "https" if certificate else "http"
        address = f"[{host}]" if ":" in host else host
        url = f"{scheme}://{address}:{opened.getsockname()[1]}"
        app = create_app(settings, queue)
        server = bounded_server(
            app, MAX_WAITING, lambda: on_ready(url), certificate=certificate, private_key=private_key
        )
        server.run(sockets=[opened])


def _check_headers(request: Request, limit: int) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise _Refused(415, "compressed")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise _Refused(415, "not_json_type")
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > limit:
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
    # Without a time, a later event of equal content looks like a repeat. It is one only while signatures are valid.
    place = "" if event.event_time else f".{int(now // verifier.window_seconds)}"
    return Message(event.event_id + place, event.conversation_id, body, datetime.fromtimestamp(now, UTC))


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
