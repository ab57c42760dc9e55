"""A proxy before a server: it notes every request, and answers those itself that a test chooses."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_OF_THE_CONNECTION = {"connection", "expect", "keep-alive", "transfer-encoding", "date", "server"}


@dataclass(frozen=True)
class Request:
    """A request as received; `query` has empty values too, as S3's subresources are."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """An answer in place of the server's."""

    status: int
    body: bytes = b""
    content_type: str = "application/xml"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Proxy:
    """The proxy's address, and the function that may answer a request in place of the server.

    Attributes:
        requests: those so far.
        missed: of these, those that the server answered with 404.
    """

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    missed: list[Request] = field(default_factory=list)
    answer: Callable[[Request], Answer | None] = lambda _: None


@contextmanager
def running_proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy before `upstream`, an `http://host:port`. Signatures stay valid: the Host header is passed on."""
    proxy, to = Proxy(), urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, unquote(parts.path), query, headers, body)
            proxy.requests.append(request)
            own = proxy.answer(request)
            if own is not None:
                headers = {"Content-Type": own.content_type, "Content-Length": str(len(own.body)), **own.headers}
                self._send(own.status, headers, own.body)
                return
            connection = http.client.HTTPConnection(str(to.hostname), to.port, timeout=60)
            try:
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in _OF_THE_CONNECTION:
                        connection.putheader(name, value)
                connection.endheaders(body or None)
                found = connection.getresponse()
                if found.status == 404:
                    proxy.missed.append(request)
                data = found.read()
            finally:
                connection.close()
            headers = {name: value for name, value in found.getheaders() if name.lower() not in _OF_THE_CONNECTION}
            if self.command != "HEAD":
                headers = {k: v for k, v in headers.items() if k.lower() != "content-length"}
                headers["Content-Length"] = str(len(data))
            self._send(found.status, headers, data)

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self._pass_on
            raise AttributeError(name)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
