"""`custody ui`: no other page of the browser can make Dagster do something."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from custody_pipeline.cli.guarded_page import Guard

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

OURS = ("host", "127.0.0.1:3000")


def answered(
    *headers: tuple[str, str], kind: str = "http", method: str = "POST", path: str = "/graphql", query: bytes = b""
) -> tuple[bool, list[Message]]:
    """Whether Dagster was asked, and what was sent."""
    asked: list[Scope] = []
    sent: list[Message] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        asked.append(scope)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(Guard(app, 3000)(scope, receive, send))
    return bool(asked), sent


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        ([OURS], {}),
        ([("host", "localhost:3000"), ("origin", "http://localhost:3000")], {}),
        ([OURS, ("origin", "http://127.0.0.1:3000")], {"kind": "websocket"}),
        ([OURS], {"method": "GET", "path": "/graphql"}),
        ([OURS], {"method": "GET", "path": "/runs", "query": b"view=all"}),
        ([], {"kind": "lifespan"}),
    ],
)
def test_what_the_page_asks_is_passed_on(headers: list[tuple[str, str]], options: dict[str, Any]) -> None:
    assert answered(*headers, **options) == (True, [])


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        ([], {}),
        ([("host", "evil.example:3000")], {}),
        ([("host", "127.0.0.1:3001")], {}),
        ([OURS, OURS], {}),
        ([OURS, ("origin", "http://evil.example")], {}),
        ([OURS, ("origin", "null")], {}),
        ([OURS, ("origin", "http://127.0.0.1:3000"), ("origin", "http://evil.example")], {}),
        ([OURS, ("origin", "http://localhost:8080")], {"kind": "websocket"}),
        ([("host", "evil.example")], {"method": "GET", "path": "/"}),
        ([OURS], {"method": "GET", "query": b"query=mutation{x}"}),
        ([OURS], {"method": "GET", "path": "/graphql/", "query": b"query=mutation{x}"}),
        ([OURS], {"method": "HEAD", "query": b"query=mutation{x}"}),
    ],
)
def test_what_another_page_asks_is_refused(headers: list[tuple[str, str]], options: dict[str, Any]) -> None:
    asked, sent = answered(*headers, **options)

    assert not asked
    assert sent[0] == {"type": "websocket.close", "code": 1008, "reason": ""} or sent[0]["status"] == 403
