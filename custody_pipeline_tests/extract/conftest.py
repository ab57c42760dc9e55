"""A scripted API and a scripted bucket, both on 127.0.0.1, and an empty warehouse."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
import duckdb
import pytest
from moto.server import ThreadedMotoServer

from custody_pipeline.settings import Settings


@dataclass
class Reply:
    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    announce: int | None = None  # Content-Length, if it is to be wrong


def reply(document: Any, **more: Any) -> Reply:
    return Reply(json.dumps(document).encode(), **more)


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Api:
    """Answers each path with its replies in turn, the last one for ever. Login gives token-1, token-2 and so on."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.replies: dict[str, list[Reply | Callable[[Asked], Reply]]] = {}
        self.expires_in = 3600
        self._logins = 0
        self._lock = threading.Lock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def do_GET(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                parts = urlsplit(self.path)
                asked = Asked(
                    self.command, parts.path, dict(parse_qsl(parts.query)), dict(self.headers), self.rfile.read(size)
                )
                answer = api.answer(asked)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header(
                    "Content-Length", str(len(answer.body) if answer.announce is None else answer.announce)
                )
                self.end_headers()
                self.wfile.write(answer.body)
                self.wfile.flush()
                if answer.announce is not None:
                    self.close_connection = True

            do_POST = do_GET  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def on(self, path: str, *replies: Reply | Callable[[Asked], Reply]) -> None:
        self.replies[path] = list(replies)

    def answer(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            if asked.path == "/oauth/token" and asked.path not in self.replies:
                self._logins += 1
                return reply({"access_token": f"token-{self._logins}", "expires_in": self.expires_in})
            waiting = self.replies.get(asked.path)
            if not waiting:
                return reply({"code": "not.found", "message": "private text"}, status=404)
            found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return found(asked) if callable(found) else found

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def buckets(moto_url: str) -> Any:
    return boto3.Session("testing", "testing", region_name="eu-central-1").resource("s3", endpoint_url=moto_url)


@pytest.fixture
def bucket(buckets: Any, aws: None, request: pytest.FixtureRequest) -> Any:
    """A versioned bucket; `request.param` False for one that is not."""
    made = buckets.Bucket(f"exports-{abs(hash(request.node.nodeid)) % 10**10}")
    made.create(CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    if getattr(request, "param", True):
        made.Versioning().enable()
    return made


@pytest.fixture
def settings(tmp_path: Any) -> Callable[..., Settings]:
    def make(**values: Any) -> Settings:
        return Settings(home=tmp_path / "home", **values)

    return make


@pytest.fixture
def api_settings(api: Api, settings: Callable[..., Settings]) -> Callable[..., Settings]:
    def make(**values: Any) -> Settings:
        known = {
            "genesys_domain": api.url,
            "genesys_client_id": "client-id",
            "genesys_client_secret": "client-secret-text",
            "genesys_requests_per_minute": 10_000,
        }
        return settings(**(known | values))

    return make


@pytest.fixture
def con(tmp_path: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(tmp_path / "warehouse.duckdb")
    yield connection
    connection.close()
