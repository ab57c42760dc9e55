"""Servers that behave like the real receivers of alerts: ServiceNow's Table API, Slack, a webhook.

Each answers from 127.0.0.1 and can be told to fail: `fail` holds answers that are given before the real one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send


@dataclass
class Failure:
    """One answer instead of the real one; `after` lets the request take effect first, as a lost answer does."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False
    method: str | None = None


class Exchange:
    """One server for many tests: hands each request to the receiver of the moment."""

    receiver: Hook | ServiceNow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.receiver.app(scope, receive, send)


@contextlib.contextmanager
def served(app: Exchange) -> Iterator[str]:
    """Serve `app` on a port of the system's choice; yields its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        config = uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


SECRET = "a-secret-of-the-webhook"


class Hook:
    """Takes any POST, like a webhook; answers `ok` in plain text, like Slack. `webhook`: the settings to send here."""

    def __init__(self, address: str) -> None:
        self.address, self.webhook = address, {"webhook_url": address, "webhook_secret": SECRET}
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.fail: deque[Failure] = deque()
        self.app = Starlette(routes=[Route("/{path:path}", self.take, methods=["GET", "POST"])])

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.calls]

    async def take(self, request: Request) -> Response:
        body = await request.body()
        failure = self.fail.popleft() if self.fail else None
        if failure is None or failure.after:
            self.calls.append((dict(request.headers), body))
        if failure is not None:
            return PlainTextResponse(str(failure.body or ""), failure.status, headers=failure.headers)
        return PlainTextResponse("ok")


class ServiceNow:
    """The Table API of one table.

    As the real one: encoded queries with `=`, `IN`, `^` and `^ORDERBY…`; a condition on an unknown field is dropped, so
    that everything matches; `sysparm_limit` (default 10,000), `sysparm_offset`, `sysparm_fields`; `X-Total-Count` and
    `Link`; 201 with the record for POST; only strings in records; Basic and OAuth (`/oauth_token.do`); errors as
    `{error: {message, detail}, status: "failure"}`; `active` follows `state` (7 Closed is not active, 6 Resolved is).
    `login`: the settings to send here, by Basic authentication.
    """

    FIELDS = frozenset({
        "sys_id", "sys_created_on", "number", "active", "state", "short_description", "description", "urgency",
        "impact", "correlation_id", "correlation_display", "work_notes", "close_code", "close_notes",
        "assignment_group",
    })  # fmt: skip

    def __init__(self, address: str) -> None:
        self.user, self.password = "custody.integration", "a-long-password"
        self.login = {
            "servicenow_url": address, "servicenow_user": self.user, "servicenow_password": self.password,
        }  # fmt: skip
        self.client_id, self.client_secret = "client-1", "client-secret-1"
        self.tokens: set[str] = set()
        self.logins = 0
        self.records: list[dict[str, str]] = []
        self.requests: list[tuple[str, str]] = []
        self.fail: deque[Failure] = deque()
        self.page_cap = 10_000
        self.acl_allows = True
        self.drop_condition = False
        self.app = Starlette(
            routes=[
                Route("/oauth_token.do", self.token, methods=["POST"]),
                Route("/api/now/table/{table}", self.table, methods=["GET", "POST"]),
                Route("/api/now/table/{table}/{sys_id}", self.record, methods=["PATCH"]),
            ]
        )

    def of(self, key: str) -> list[dict[str, str]]:
        return [record for record in self.records if record["correlation_id"] == key]

    def add(self, **fields: str) -> dict[str, str]:
        number = len(self.records) + 1
        record = dict.fromkeys(sorted(self.FIELDS), "") | {
            "sys_id": secrets.token_hex(16),
            "number": f"INC{number:07}",
            "sys_created_on": f"2026-11-03 02:{number // 60:02}:{number % 60:02}",
            "state": "1",
            "active": "true",
        }
        record |= {name: value for name, value in fields.items() if name in self.FIELDS}
        self.records.append(record)
        return record

    # -- endpoints ---------------------------------------------------------------------------------------------------

    async def token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        self.logins += 1
        known = form.get("client_id") == self.client_id and form.get("client_secret") == self.client_secret
        grant = form.get("grant_type")
        person = form.get("username") == self.user and form.get("password") == self.password
        if not known or not (grant == "client_credentials" or (grant == "password" and person)):
            return JSONResponse({"error": "server_error", "error_description": "access_denied"}, 401)
        token = secrets.token_urlsafe(24)
        self.tokens.add(token)
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": 1799, "scope": "useraccount"})

    async def table(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        if request.method == "GET":
            return self._failing(request, lambda: self._query(request))
        body = await request.json()
        return self._failing(request, lambda: JSONResponse({"result": self.add(**body)}, 201))

    async def record(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        body = await request.json()
        return self._failing(request, lambda: self._patch(request.path_params["sys_id"], body))

    def _failing(self, request: Request, real: Callable[[], Response]) -> Response:
        failure = self.fail[0] if self.fail and self.fail[0].method in {None, request.method} else None
        if failure is None:
            return real()
        self.fail.popleft()
        if failure.after:
            real()
        body = failure.body if failure.body is not None else _error("Operation Failed", "as told")
        if isinstance(body, str):
            return PlainTextResponse(body, failure.status, headers=failure.headers)
        return JSONResponse(body, failure.status, headers=failure.headers)

    def _refused(self, request: Request) -> Response | None:
        self.requests.append((request.method, request.url.path))
        kind, _, credentials = request.headers.get("authorization", "").partition(" ")
        basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if not (kind == "Basic" and credentials == basic) and not (kind == "Bearer" and credentials in self.tokens):
            return JSONResponse(_error("User Not Authenticated", "Required to provide Auth information"), 401)
        if not self.acl_allows:
            return JSONResponse(_error("Insufficient rights to query records", "ACL Exception"), 403)
        if request.path_params["table"] != "incident":
            return JSONResponse(_error("Invalid table", ""), 400)
        return None

    def _query(self, request: Request) -> Response:
        params = request.query_params
        found = self._matching(params.get("sysparm_query", ""))
        offset, limit = int(params.get("sysparm_offset", "0")), int(params.get("sysparm_limit", "10000"))
        limit = min(limit, self.page_cap)
        page = found[offset : offset + limit]
        headers = {"X-Total-Count": str(len(found))}
        if offset + limit < len(found):
            following = urlencode({**params, "sysparm_offset": str(offset + limit)})
            headers["Link"] = f'<{request.url.replace(query=following)}>;rel="next"'
        fields = params.get("sysparm_fields")
        names = fields.split(",") if fields else sorted(self.FIELDS)
        return JSONResponse({"result": [{name: record[name] for name in names} for record in page]}, headers=headers)

    def _matching(self, query: str) -> list[dict[str, str]]:
        found = list(self.records)
        for part in query.split("^"):
            if part.startswith("ORDERBY"):
                found.sort(key=lambda record: record[part.removeprefix("ORDERBY")])
                continue
            name, operator, value = _condition(part)
            if name not in self.FIELDS or self.drop_condition:
                continue
            values = value.split(",") if operator == "IN" else [value]
            found = [record for record in found if record[name] in values]
        return found

    def _patch(self, sys_id: str, body: dict[str, str]) -> Response:
        for record in self.records:
            if record["sys_id"] == sys_id:
                record.update({name: value for name, value in body.items() if name in self.FIELDS})
                record["active"] = "false" if record["state"] == "7" else "true"
                return JSONResponse({"result": record})
        return JSONResponse(
            _error("No Record found", "Record doesn't exist or ACL restricts the record retrieval"), 404
        )


def _condition(part: str) -> tuple[str, str, str]:
    for operator in ("IN", "="):
        name, found, value = part.partition(operator)
        if found:
            return name, operator, value
    return part, "", ""


def _error(message: str, detail: str) -> dict[str, Any]:
    return {"error": {"message": message, "detail": detail}, "status": "failure"}
