"""Dagster's page and daemon behind a guard: only the page itself may send requests that change something.

Dagster's server takes mutations by GET and from any `Host` and `Origin`, so that any web page in the same browser could
start runs. The guard refuses requests that do not name this server (DNS rebinding), that another page makes (cross-site
requests), and queries in the address of a GET. No other page may show this one in a frame (clickjacking).

Belongs here: the guard, and starting the servers that `custody ui` needs. Does not: stopping them (ui.py).
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

_CREATE = "create_app_from_workspace_process_context"
_NAMES = ("127.0.0.1", "localhost", "[::1]")


class Guard:
    """An ASGI application that passes on the requests of its own page. `port`: where it is served."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in _NAMES}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with 403."""

        async def unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-frame-options"] = "DENY"
            await send(message)

        if scope["type"] == "lifespan" or self._is_ours(scope):
            await self._app(scope, receive, unframed)
        elif scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, send)
        else:
            answer = PlainTextResponse("This page is served to itself alone, on this machine.\n", 403)
            await answer(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        origins = headers.getlist("origin")
        named = len(headers.getlist("host")) == 1 and headers["host"] in self._hosts
        by_address = scope["type"] == "http" and scope["method"] != "POST" and bool(scope["query_string"])
        queried = by_address and scope["path"].rstrip("/").endswith("/graphql")
        return named and set(origins) <= self._origins and not queried


def main() -> None:
    """Serve the page on 127.0.0.1 with the daemon beside it; arguments: the port and the workspace file."""
    from dagster_webserver import cli

    port, workspace = int(sys.argv[1]), sys.argv[2]
    create = vars(cli)[_CREATE]

    def guarded(*arguments: Any, **options: Any) -> Guard:
        return Guard(create(*arguments, **options), port)

    # Dagster has no option to put another application in front of its own.
    vars(cli)[_CREATE] = guarded
    daemon = subprocess.Popen([sys.executable, "-m", "dagster._daemon", "run", "-w", workspace])
    try:
        cli.cli(["-w", workspace, "-h", "127.0.0.1", "-p", str(port)])
    finally:
        daemon.terminate()


if __name__ == "__main__":
    main()
