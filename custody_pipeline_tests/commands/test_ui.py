"""`custody ui`: no other page of the browser can make Dagster do something."""

from __future__ import annotations

import asyncio
import socket
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from typer.testing import CliRunner

from custody_pipeline.cli.guarded_page import Guard
from custody_pipeline.cli.main import app, with_home_first
from custody_pipeline.cli.nights_page import night_line, print_nights
from custody_pipeline.cli.shared import console_of_stdout
from custody_pipeline.cli.ui import serve_ui
from custody_pipeline.operations.summary import NightSummary
from custody_pipeline.settings import SettingsError

OURS = ("host", "127.0.0.1:3000")


def answered(
    *headers: tuple[str, str], kind: str = "http", method: str = "POST", path: str = "/graphql", query: bytes = b""
) -> tuple[bool, list[Message]]:
    """Whether Dagster was asked, and what was sent."""
    asked: list[Scope] = []
    sent: list[Message] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        asked.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})

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
    asked, sent = answered(*headers, **options)

    assert asked
    assert all(message["headers"] == [(b"x-frame-options", b"DENY")] for message in sent)
    assert len(sent) == (options.get("kind", "http") == "http")


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


def test_a_taken_port_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port} of 127.0.0.1 is not free"):
            serve_ui(tmp_path / "home", port, lambda _: None)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("given", [["status", "--home", "/x", "--json"], ["--home", "/x", "status", "--json"]])
def test_the_home_may_stand_behind_every_command(given: list[str]) -> None:
    assert with_home_first(given) == ["--home", "/x", "status", "--json"]
    assert with_home_first(["explain", "--", "--home"]) == ["explain", "--", "--home"]
    assert with_home_first(["gaps", "--home"]) == ["--home"]  # "Option '--home' requires an argument."


@pytest.mark.parametrize(
    "options", [[], ["--from", "2026-11-02"], ["--date", "2026-11-02", "--from", "2026-11-01", "--to", "2026-11-02"],
                ["--from", "2026-11-03", "--to", "2026-11-02"]]
)  # fmt: skip
def test_a_run_is_of_one_night_or_of_a_range(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["run", *options]).exit_code == 2  # what typer's runner gives for a usage error


def test_a_night_fits_into_a_line() -> None:
    summary = NightSummary(date(2026, 11, 2), recordings=123_456, gaps=98_765, unexplained=10, revision=12)
    assert len(night_line(summary.night, summary, 1)) <= 80
    assert night_line(summary.night, None, 2) == "2026-11-02  failed"
    # The settings leave a source out: no finding of the run, and the night is not complete.
    assert night_line(summary.night, summary, 0).endswith("10 unexplained, not established")


def test_status_names_every_night_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = NightSummary(date(2026, 11, 2), state="provisional", recordings=609, completeness="established")
    monkeypatch.setenv("COLUMNS", "40")
    print_nights(console_of_stdout(), [summary])
    told = capsys.readouterr().out
    assert told.startswith("2026-11-02  state provisional, rev –,\n    recordings 609, complete 0")
    assert max(map(len, told.splitlines())) <= 40
    monkeypatch.setenv("COLUMNS", "80")
    print_nights(console_of_stdout(), [summary])
    assert capsys.readouterr().out.split()[:3] == ["night", "state", "rev"]


def test_status_names_what_keeps_nights_from_being_established(capsys: pytest.CaptureFixture[str]) -> None:
    def night(day: int, completeness: str, state: str = "final", **not_whole: str) -> NightSummary:
        return NightSummary(date(2026, 11, day), state=state, completeness=completeness, not_whole=not_whole)

    print_nights(
        console_of_stdout(),
        [
            night(5, "not_established", "failed"),
            night(4, "not_established", conversations="partial", listed_recordings="not_asked"),
            night(3, "not_established", conversations="partial", listed_recordings="not_asked"),
            night(2, "established"),
            night(1, "incomplete"),
        ],
    )
    told = capsys.readouterr().out.splitlines()[-5:]
    assert " ".join(map(str.strip, told)) == (
        "not established, 2026-11-03 to 2026-11-04: conversations partial, listed_recordings not asked "
        "incomplete, 2026-11-01 "
        "→ Solve the cause, or wait for the vendor, then run the night again: custody help runbooks"
    )
    print_nights(console_of_stdout(), [night(2, "established")])
    assert "→" not in capsys.readouterr().out
