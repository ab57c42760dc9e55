"""Each command on a published night: those of docs/first-hour.md in their order, then all others."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click import Command
from typer.main import get_command
from typer.testing import CliRunner, Result

from custody_pipeline.cli.main import app, with_home_first
from custody_pipeline_tests.matters.conftest import Published

pytestmark = pytest.mark.server

PAGE = Path(__file__).parents[2] / "docs/first-hour.md"
COLUMNS = 80
# A matter of a young night may still grow.
FINDINGS = ("custody matter show doe", "custody doctor")

SERVERS = {"simulator", "ui", "serve-webhook"}
# They change the night, ask others than the vendor, or make a night: their own tests run them.
ELSEWHERE = {
    "demo", "run", "rebuild", "fixity", "erase", "matter gather", "matter produce", "matter receipt", "organisations",
    "witness ask", "witness add", "catalog iceberg", "events drain", "events retry", "retention apply", "flow check",
    "triggers", "package",
}  # fmt: skip
# Other tests read their JSON.
READ_ELSEWHERE = {"explain", "gaps", "matter show", "status", "verify"}
# Their output is a document, and no line of it is folded.
DOCUMENTS = {"dictionary", "catalog athena", "mapping suggest"}
ARGUMENTS = {
    "catalog athena": "--from 2026-11-02",
    "explain": "RECORDING_ID",
    "prove": "RECORDING_ID",
    "mapping check": "--date 2026-11-02",
    "key new": "custody.example.com/eu new.key",
    "key open": "retention.yaml copy",
    "sheet": "gaps",
    "matter new": "MATTER",
    "matter show": "other",
    "matter report": "other",
    "matter hold": "other",
    "matter release": "other",
}


ROOT: Any = get_command(app)


def commands() -> Iterator[tuple[str, Command]]:
    """Every command with its name, `matter new` for example; groups are no commands."""
    waiting: list[tuple[str, Any]] = [("", ROOT)]
    while waiting:
        name, found = waiting.pop(0)
        if hasattr(found, "commands"):
            waiting += [(f"{name} {below}".strip(), command) for below, command in found.commands.items()]
        else:
            yield name, found


def of_the_page() -> list[str]:
    """The page's commands, a line each."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def invoke(monkeypatch: pytest.MonkeyPatch, line: str) -> Result:
    """Run a command in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setattr("typer.testing._get_command", lambda _: ROOT)  # made once: it takes a tenth of a second
    return CliRunner().invoke(app, with_home_first(shlex.split(line)))


def too_wide(told: Result) -> list[str]:
    """Lines for people that are wider than the terminal, but for single words: a path or an id is copied as it is."""
    return [line for line in told.output.splitlines() if len(line) > COLUMNS and " " in line.strip()]


def is_json(text: str) -> bool:
    """Whether a text is one JSON document."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@pytest.mark.skipif(not PAGE.exists(), reason="not a checkout")
def test_every_command_of_the_page_works(night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recording = night.whole()[0]["recording_id"]
    lines = of_the_page()
    assert len(lines) > 12
    wrong = []
    for line in lines:
        told = invoke(monkeypatch, line.replace("RECORDING_ID", recording).removeprefix("custody "))
        ends_well = told.exit_code in ({0, 1} if line in FINDINGS else {0}) and told.output
        if not ends_well or (too_wide(told) and not line.endswith(("--csv", "--json"))):
            wrong.append((line, told.exception, told.output))
    assert wrong == []


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_has_a_help_page_of_80_columns_and_prints_json_if_it_prints_anything(
    monkeypatch: pytest.MonkeyPatch, name: str, command: Command
) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in options) is (name not in SERVERS)
    told = invoke(monkeypatch, f"{name} --help")
    assert (told.exit_code, too_wide(told)) == (0, [])


@pytest.mark.skipif(not PAGE.exists(), reason="not a checkout")
@pytest.mark.parametrize("as_json", [False, True])
def test_every_other_command_answers_in_80_columns_and_in_json(
    night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = tmp_path / "retention.yaml"
    policy.write_text("version: 1\nauthority: schedule 3\nrules:\n- {name: calls, keep: 7 years}\n")
    monkeypatch.setenv("CUSTODY_RETENTION_PATH", str(policy))
    night.matter("other", "  tags: [Legal-Hold = true]")
    recording = night.whole()[0]["recording_id"]
    wrong = []
    for name, _ in commands():
        of_page = any(line.startswith(f"custody {name}") for line in of_the_page())
        if (name in READ_ELSEWHERE if as_json else of_page) or name in SERVERS | ELSEWHERE:
            continue
        arguments = ARGUMENTS.get(name, "").replace("RECORDING_ID", recording).replace("MATTER", f"m{as_json:d}")
        home = shlex.quote(str(night.settings.home))
        told = invoke(monkeypatch, f"{name} {arguments} {'--json' * as_json} --home {home}")
        fits = is_json(told.stdout) if as_json else name in DOCUMENTS or not too_wide(told)
        if told.exit_code not in {0, 1} or not told.stdout or not fits:
            wrong.append((name, told.exception, told.output))
    assert wrong == []
