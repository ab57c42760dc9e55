"""The organisation over HTTP: login and API on one base URL, on this machine only.

Belongs here: the application, its gate (tokens, rate limit) and the server. Does not: the routes (`routes_…`) or what
they remember (`state`).
"""

from __future__ import annotations

import base64
import binascii
import threading
from functools import partial
from typing import Self, Unpack
from urllib.parse import parse_qs, unquote

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from custody_pipeline.io.listener import listener
from custody_pipeline.simulator.answers import body_of, error_response, json_response, moment_of
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.routes_conversations import ConversationRoutes
from custody_pipeline.simulator.routes_gdpr import GdprRoutes
from custody_pipeline.simulator.routes_platform import PlatformRoutes
from custody_pipeline.simulator.routes_recording import RecordingRoutes
from custody_pipeline.simulator.state import CLIENT_ID, CLIENT_SECRET, ApiError, World, WorldOptions

_OPEN_PATHS = ("/oauth/token", "/simulator/")
_BACKLOG = 512


class Gate:
    """Before and after every route: token, rate limit, correlation id."""

    def __init__(self, app: ASGIApp, world: World):
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation_id = self._world.new_id("correlation")
        scope.setdefault("state", {})["correlation_id"] = correlation_id
        headers = {"ININ-Correlation-Id": correlation_id}
        answer: ASGIApp = self._app
        self._world.requests += 1
        try:
            if not scope["path"].startswith(_OPEN_PATHS):
                self._limit(_bearer(scope), headers)
        except ApiError as error:
            answer = error_response(error, correlation_id)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await answer(scope, receive, with_headers)

    def _limit(self, token: str, headers: dict[str, str]) -> None:
        used, reset = self._world.admit(token)
        allowed = self._world.rate_limit
        headers["inin-ratelimit-count"] = str(used)
        headers["inin-ratelimit-allowed"] = str(allowed)
        headers["inin-ratelimit-reset"] = str(reset)
        if used > allowed:
            self._world.over_the_limit += 1
            message = f"Rate limit exceeded the maximum. Retry the request in [{reset}] seconds"
            raise ApiError(429, "too.many.requests.retry.after", message, retry_after=reset)


def _bearer(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            return str(token.strip()) if kind.lower() == "bearer" else ""
    return ""


async def _login(world: World, request: Request) -> Response:
    """`POST /oauth/token`: client credentials in the Authorization header or in the form."""
    form = {name: values[-1] for name, values in parse_qs((await request.body()).decode("latin-1")).items()}
    if form.get("grant_type") != "client_credentials":
        return _login_error("unsupported_grant_type", "the simulator offers client_credentials only")
    given = _basic_credentials(request) or (form.get("client_id", ""), form.get("client_secret", ""))
    if given != (CLIENT_ID, CLIENT_SECRET):
        return _login_error("invalid_client", "client not found or invalid client secret")
    token = world.issue_token()
    return json_response({"access_token": token, "token_type": "bearer", "expires_in": world.token_lifetime})


def _basic_credentials(request: Request) -> tuple[str, str] | None:
    kind, _, encoded = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote(client_id), unquote(secret)


def _login_error(error: str, description: str) -> Response:
    return json_response({"error": error, "description": description, "error_description": description}, 400)


async def _set_clock(world: World, request: Request) -> Response:
    """`PUT /simulator/clock`, `{"now": "2026-11-03T12:00:00Z"}`: the demo and tests move the clock."""
    try:
        world.set_now(moment_of(str((await body_of(request)).get("now"))))
    except ValueError as error:
        raise ApiError(400, "bad.request", "now must be an ISO 8601 time.") from error
    return json_response({"now": world.now.isoformat(), "dataAvailabilityDate": world.watermark.isoformat()})


def create_app(world: World) -> ASGIApp:
    """The ASGI application over a world."""
    routes = [
        Route("/oauth/token", partial(_login, world), methods=["POST"]),
        Route("/simulator/clock", partial(_set_clock, world), methods=["PUT"]),
        *PlatformRoutes(world).routes(),
        *GdprRoutes(world).routes(),
        *RecordingRoutes(world).routes(),
        *ConversationRoutes(world).routes(),
    ]

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)  # noqa: S101  registered for nothing else
        return error_response(error, request.state.correlation_id)

    async def no_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  registered for nothing else
        code = "not.found" if error.status_code == 404 else "bad.request"
        return error_response(ApiError(error.status_code, code, str(error.detail)), request.state.correlation_id)

    app = Starlette(routes=routes, exception_handlers={ApiError: refuse, HTTPException: no_route})
    return Gate(app, world)


class SimulatorServer:
    """The organisation's service on a thread of its own.

    Use it as a context manager; `base_url` is both the login's and the API's.

    Args:
        organizations: one or several nights of the same seed.
        port: 0 lets the operating system choose.
        options: of the `World`.
    """

    def __init__(self, *organizations: Organization, port: int = 0, **options: Unpack[WorldOptions]):
        self.world = World(organizations, **options)
        self._socket = listener("127.0.0.1", port, _BACKLOG)
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(create_app(self.world), lifespan="off", log_config=None, access_log=False, ws="none")
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="simulator", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
