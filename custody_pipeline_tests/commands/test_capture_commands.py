"""`custody events` and `custody triggers` against the simulated organisation, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from custody_pipeline.capture.envelopes import parse_event
from custody_pipeline.capture.messages import Message
from custody_pipeline.capture.queues import open_queue
from custody_pipeline.cli.main import app
from custody_pipeline.settings import load_settings
from custody_pipeline.simulator.events import events_of
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline.simulator.state import CLIENT_ID, CLIENT_SECRET

pytestmark = pytest.mark.server

ORGANIZATION = Organization(size=2, faults=FaultPlan.none())
WORKFLOW = "0f6d1c6e-7a51-4a4e-9d3c-1b2a3c4d5e6f"


@pytest.fixture(autouse=True)
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorServer]:
    with SimulatorServer(ORGANIZATION, now=ORGANIZATION.opening + timedelta(days=1)) as server:
        for name, value in {
            "CUSTODY_HOME": str(tmp_path),
            "CUSTODY_GENESYS_DOMAIN": server.base_url,
            "CUSTODY_GENESYS_CLIENT_ID": CLIENT_ID,
            "CUSTODY_GENESYS_CLIENT_SECRET": CLIENT_SECRET,
            "CUSTODY_TRIGGER_WORKFLOW_ID": WORKFLOW,
        }.items():
            monkeypatch.setenv(name, value)
        yield server


def custody(*arguments: str, status: int = 0) -> str:
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == status, ran.output
    return ran.stdout


def test_what_was_refused_is_set_aside_and_read_after_a_retry(vendor: SimulatorServer) -> None:
    call = ORGANIZATION.conversation(0)
    sent = list(events_of(call))
    with closing(open_queue(load_settings())) as queue:
        events = [(parse_event(event.body), event.body) for event in sent]
        queue.put([Message(event.event_id, event.conversation_id, body, datetime.now(UTC)) for event, body in events])
    vendor.world.hidden.add(call.id)
    refused = json.loads(custody("events", "drain", "--json", status=1))
    vendor.world.hidden.clear()
    assert refused["report"]["set_aside"] == {"conversation_forbidden": len(sent)}
    assert (refused["queue"]["depth"], refused["queue"]["dead"]) == (0, len(sent))
    assert f"dead letters: {len(sent)} events; " in custody("events", "drain")
    assert custody("events", "retry", "--limit", "1") == "1 events\n"
    assert custody("events", "retry") == f"{len(sent) - 1} events\n"
    assert custody("events", "drain") == f"{len(sent)} events, 1 captures; 0 still waiting\n"


def test_a_drain_without_a_login_does_not_say_that_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    body = next(iter(events_of(ORGANIZATION.conversation(0)))).body
    event = parse_event(body)
    with closing(open_queue(load_settings())) as queue:
        queue.put([Message(event.event_id, event.conversation_id, body, datetime.now(UTC))])
    monkeypatch.setenv("CUSTODY_GENESYS_CLIENT_SECRET", "not the secret")
    assert "to be read later: 1 events (login_refused)" in custody("events", "drain", status=2)


def test_triggers_are_planned_installed_once_and_removed(vendor: SimulatorServer, tmp_path: Path) -> None:
    def wanted(lines: str) -> list[str]:
        return [line.split()[1] for line in lines.splitlines()]

    assert wanted(custody("triggers", "plan")) == ["create", "create"]
    assert vendor.world.triggers == {}
    assert wanted(custody("triggers", "install")) == ["create", "create"]
    assert custody("triggers", "install") == ""
    assert custody("triggers", "plan").split()[0] == "keep"
    assert wanted(custody("triggers", "remove")) == ["delete", "delete"]
    assert custody("triggers", "remove") == ""
    assert vendor.world.triggers == {}

    alone = CliRunner().invoke(app, ["triggers", "plan", "--definitions", str(tmp_path)])
    assert "--definitions FOLDER needs --url" in " ".join(alone.output.replace("│", "").split()), (
        "it would write nothing"
    )
    plain = CliRunner().invoke(app, ["triggers", "plan", "--url", "http://no-tls", "--definitions", str(tmp_path)])
    assert (plain.exit_code, "https URL" in plain.output) == (64, True)
    written = custody("triggers", "plan", "--url", "https://custody.example.com/events", "--definitions", str(tmp_path))
    assert sum(Path(line).is_file() for line in written.splitlines()) == 5


def test_what_is_to_be_imported_is_written_before_the_organisation_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GENESYS_DOMAIN", "GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET", "TRIGGER_WORKFLOW_ID"):
        monkeypatch.delenv(f"CUSTODY_{name}")
    asked = ("triggers", "plan", "--url", "https://custody.example.com/events", "--definitions", str(tmp_path))
    told = json.loads(custody(*asked, "--json"))
    assert (len(told["definitions"]), told["changes"]) == (5, None)
    install = CliRunner().invoke(app, ["triggers", "install"])
    assert "CUSTODY_GENESYS_DOMAIN" in str(install.exception)
