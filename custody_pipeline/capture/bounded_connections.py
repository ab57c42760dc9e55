"""The limits of connections that have no complete request: their number, their time, the size of their headers.

Belongs here: limits that uvicorn does not have. Does not: the requests (receiver.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

HEADER_SECONDS = 10.0
HEADER_BYTES = 16 * 1024
# Connections without a complete request, so without a signature. Above this number the oldest are closed.
MAX_IDLE = 500
_ACCEPTED_AT_ONCE = 32
_OPEN_FILES = 65_536


def open_many_files() -> None:
    """Raise the limit of open files, often 1,024: fewer than the connections that may wait for a TLS handshake."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def bounded_server(
    app: Starlette,
    max_requests: int,
    on_ready: Callable[[], None],
    *,
    certificate: str | None = None,
    private_key: str | None = None,
) -> uvicorn.Server:
    """A server that is not running yet.

    Args:
        max_requests: complete requests at a time, besides connections that wait for one; more are answered 503.
        on_ready: called once connections are accepted.
        certificate: PEM file, for TLS without a proxy.
    """
    config = uvicorn.Config(
        app,
        http=_BoundedProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=max_requests + MAX_IDLE + 100,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=15,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
        loop="asyncio" if certificate else "auto",  # uvloop does not ask `_Listener` for connections
    )
    return _Server(config, on_ready)


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
