"""Installing is a diff: what is planned is done, twice is once, and nobody else's trigger is touched."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pytest

from custody_pipeline.capture.envelopes import ATTRIBUTES_TOPIC, CUSTOMER_END_TOPIC, parse_event
from custody_pipeline.capture.installation import TRIGGERS, Change, definitions, install, plan, remove, wanted_triggers
from custody_pipeline.capture.spool import Spool
from custody_pipeline.extract.genesys import Answer
from custody_pipeline.extract.genesys_errors import NotFound, UnexpectedAnswer
from custody_pipeline_tests.capture.conftest import CONVERSATION, KEY_ID, PARTICIPANT, SECRET, Receiver

WORKFLOW = "33333333-2222-4333-8444-555555555555"
OTHER_WORKFLOW = "44444444-2222-4333-8444-555555555555"
ENDPOINT = "https://custody.example.com/events"


@dataclass
class Organisation:
    """Triggers as the platform keeps them: versions, pages of two, no update of a topic."""

    topics: list[str] = field(default_factory=lambda: [ATTRIBUTES_TOPIC, CUSTOMER_END_TOPIC])
    triggers: dict[str, dict[str, Any]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)

    def get(self, path: str, **params: str | int | bool) -> Answer:
        entities = self.topics if path.endswith("/topics") else list(self.triggers.values())
        start = int(params.get("after", 0))
        page: dict[str, Any] = {"entities": entities[start : start + 2]}
        if start + 2 < len(entities):
            page["nextUri"] = f"{path}?after={start + 2}&pageSize=2"
        return Answer(f"GET {path}", orjson.dumps(page), 200, None)

    def post(self, path: str, body: object) -> Answer:
        assert path == TRIGGERS
        assert isinstance(body, dict)
        trigger_id = f"t{len(self.writes)}"
        self.triggers[trigger_id] = body | {"id": trigger_id, "version": 1}
        return self._wrote("POST", path)

    def put(self, path: str, body: object) -> Answer:
        assert isinstance(body, dict)
        trigger = self.triggers[path.rpartition("/")[2]]
        assert body["version"] == trigger["version"]
        assert body["topicName"] == trigger["topicName"]
        trigger.update(body, version=trigger["version"] + 1)
        return self._wrote("PUT", path)

    def delete(self, path: str) -> Answer:
        del self.triggers[path.rpartition("/")[2]]
        return self._wrote("DELETE", path)

    def _wrote(self, method: str, path: str) -> Answer:
        self.writes.append(method)
        return Answer(f"{method} {path}", b"", 200, None)


def actions(changes: list[Change]) -> list[str]:
    return [change.action for change in changes]


@pytest.fixture
def organisation() -> Organisation:
    return Organisation()


@pytest.fixture
def foreign(organisation: Organisation) -> list[dict[str, Any]]:
    for number in range(5):
        organisation.triggers[f"f{number}"] = {"id": f"f{number}", "name": f"somebody else's {number}", "version": 3}
    return [dict(trigger) for trigger in organisation.triggers.values()]


def test_a_plan_changes_nothing(organisation: Organisation) -> None:
    assert actions(plan(organisation, WORKFLOW)) == ["create", "create"]
    assert organisation.writes == []


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"entities":null}', b'{"message":"maintenance"}', b"<html>"])
def test_an_answer_that_is_no_list_of_triggers_is_not_none(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    install(organisation, WORKFLOW)
    monkeypatch.setattr(organisation, "get", lambda path, **_: Answer(f"GET {path}", body, 200, None))
    with pytest.raises(UnexpectedAnswer):
        install(organisation, WORKFLOW)
    with pytest.raises(UnexpectedAnswer):
        remove(organisation)
    assert organisation.writes == ["POST", "POST"]


def test_installing_twice_is_installing_once(organisation: Organisation, foreign: list[dict[str, Any]]) -> None:
    assert actions(install(organisation, WORKFLOW)) == ["create", "create"]
    assert install(organisation, WORKFLOW) == []
    assert actions(plan(organisation, WORKFLOW)) == ["keep", "keep"]
    assert organisation.writes == ["POST", "POST"]
    assert [organisation.triggers[trigger["id"]] for trigger in foreign] == foreign


def test_a_plan_shows_what_differs(organisation: Organisation) -> None:
    install(organisation, WORKFLOW)
    change = plan(organisation, OTHER_WORKFLOW)[0]
    assert change.action == "update"
    assert [name for name, _, _ in change.differences] == ["target"]
    assert WORKFLOW in str(change)
    assert OTHER_WORKFLOW in str(change)


def test_what_somebody_switched_off_is_switched_on_again(organisation: Organisation) -> None:
    install(organisation, WORKFLOW)
    next(iter(organisation.triggers.values()))["enabled"] = False
    assert actions(install(organisation, WORKFLOW)) == ["update"]
    assert all(trigger["enabled"] for trigger in organisation.triggers.values())


def test_fields_that_the_platform_adds_are_no_difference(organisation: Organisation) -> None:
    install(organisation, WORKFLOW)
    for trigger in organisation.triggers.values():
        del trigger["matchCriteria"]
        trigger["target"] = trigger["target"] | {"selfUri": "/x"}
        trigger["dateCreated"] = "2026-11-02T00:00:00Z"
    assert actions(plan(organisation, WORKFLOW)) == ["keep", "keep"]


def test_another_topic_needs_a_new_trigger(organisation: Organisation) -> None:
    install(organisation, WORKFLOW)
    next(iter(organisation.triggers.values()))["topicName"] = "v2.detail.events.conversation.{id}.acw"
    assert actions(install(organisation, WORKFLOW)) == ["replace"]
    assert {trigger["topicName"] for trigger in organisation.triggers.values()} == {
        ATTRIBUTES_TOPIC,
        CUSTOMER_END_TOPIC,
    }


def test_a_second_trigger_of_the_same_name_is_removed(organisation: Organisation) -> None:
    install(organisation, WORKFLOW)
    organisation.post(TRIGGERS, wanted_triggers(WORKFLOW)[0])
    assert actions(install(organisation, WORKFLOW)) == ["delete"]
    assert len(organisation.triggers) == 2


def test_a_topic_that_is_not_offered_is_said_and_left_out(organisation: Organisation) -> None:
    organisation.topics.remove(ATTRIBUTES_TOPIC)
    assert actions(install(organisation, WORKFLOW)) == ["unavailable", "create"]
    assert [trigger["topicName"] for trigger in organisation.triggers.values()] == [CUSTOMER_END_TOPIC]


def test_removing_takes_ours_and_only_ours(organisation: Organisation, foreign: list[dict[str, Any]]) -> None:
    install(organisation, WORKFLOW)
    assert actions(remove(organisation)) == ["delete", "delete"]
    assert remove(organisation) == []
    assert list(organisation.triggers.values()) == foreign


def test_a_trigger_that_is_gone_already_counts_as_deleted(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: str) -> Answer:
        raise NotFound(f"DELETE {path}", "HTTP 404", status=404)

    install(organisation, WORKFLOW)
    monkeypatch.setattr(organisation, "delete", gone)
    assert actions(remove(organisation)) == ["delete", "delete"]


@pytest.mark.parametrize("workflow", ["", "my workflow", "../x"])
def test_a_workflow_id_that_is_none_is_refused(organisation: Organisation, workflow: str) -> None:
    with pytest.raises(ValueError, match="CUSTODY_TRIGGER_WORKFLOW_ID"):
        plan(organisation, workflow)


def test_the_triggers_have_the_fields_of_the_vendors_model() -> None:
    sdk = find_spec("PureCloudPlatformClientV2")
    if sdk is None or sdk.origin is None:
        pytest.skip("needs the vendor's SDK")
    # Read, not imported: importing the SDK takes half a minute.
    model = (Path(sdk.origin).parent / "models" / "create_trigger_request.py").read_text()
    attributes = re.search(r"attribute_map = \{(.*?)\}", model, re.DOTALL)
    assert attributes is not None
    known = set(re.findall(r": '(\w+)'", attributes[1]))
    assert "topicName" in known
    for trigger in wanted_triggers(WORKFLOW):
        assert set(trigger) <= known


def test_definitions_are_complete_and_hold_the_endpoint() -> None:
    files = definitions(ENDPOINT)
    assert sorted(files) == [
        "aws/eventbridge-sqs.yaml",
        "genesys/data-action.custom.json",
        "genesys/index.js",
        "genesys/workflow.yaml",
        "servicenow/flow-action.js",
    ]
    assert f'"{ENDPOINT}"' in files["servicenow/flow-action.js"]
    action = json.loads(files["genesys/data-action.custom.json"])
    assert action["contract"]["input"]["inputSchema"]["required"] == ["topicName", "conversationId"]
    assert not any("{{" in text for text in files.values())


def test_the_workflow_tells_an_end_from_a_change_by_a_field_that_every_end_has() -> None:
    """As in the SDK's CustomerEndEvent and AttributeUpdateEvent; disconnectType may be missing from an end."""
    workflow = definitions(ENDPOINT)["genesys/workflow.yaml"]
    (told_by,) = re.findall(r"IsNotSetOrEmpty\((Flow\.\w+)\)", workflow)
    assert told_by == "Flow.sessionId"
    assert f"name: {told_by}\n" in workflow


@pytest.mark.parametrize("endpoint", ["http://custody.example.com/events", "custody", 'https://x/"+alert(1)+"', ""])
def test_an_endpoint_that_is_no_https_url_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="https"):
        definitions(endpoint)


def test_the_cloudformation_template_has_no_findings() -> None:
    template = (resources.files("custody_pipeline.capture.install") / "eventbridge-sqs.yaml").read_text()
    from cfnlint.api import lint_all  # with sympy and networkx, which no other test needs

    findings = [str(match) for match in lint_all(template)]
    assert [finding for finding in findings if not finding.startswith("[I")] == []


@pytest.mark.server
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_genesys_function_signs_as_the_receiver_wants_it(receiver: Receiver, spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "index.js").write_text(definitions(ENDPOINT)["genesys/index.js"])
    event = {
        "endpoint": f"http://127.0.0.1:{receiver.port}/events",
        "keyId": KEY_ID,
        "secret": SECRET.decode(),
        "topicName": ATTRIBUTES_TOPIC,
        "conversationId": CONVERSATION,
        "participantId": PARTICIPANT,
        "eventTime": "1793613600123",
    }
    script = "require('./index.js').handler(JSON.parse(process.argv[1])).then((a) => console.log(JSON.stringify(a)))"
    done = subprocess.run(
        ["node", "-e", script, json.dumps(event)], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    assert json.loads(done.stdout) == {"status": "accepted"}
    (delivery,) = spool.receive(10, 60)
    assert parse_event(delivery.body).participant_id == PARTICIPANT


@pytest.mark.server
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_servicenow_action_takes_the_conversation_id_out_and_signs(tmp_path: Path) -> None:
    """ServiceNow's classes are stood in for; what its script computes with them is checked."""
    (tmp_path / "action.js").write_text(definitions(ENDPOINT)["servicenow/flow-action.js"])
    stand_ins = """
    const crypto = require("node:crypto");
    globalThis.GlideDateTime = class { getNumericValue() { return 1793613600123; } };
    globalThis.GlideStringUtil = { base64Encode: (text) => Buffer.from(text).toString("base64") };
    globalThis.GlideCertificateEncryption = class {
      generateMac(key, _name, text) {
        return crypto.createHmac("sha256", Buffer.from(key, "base64")).update(text).digest("base64");
      }
    };
    const sent = { headers: {} };
    globalThis.sn_ws = { RESTMessageV2: class {
      setEndpoint(url) { sent.url = url; }
      setHttpMethod() {}
      setHttpTimeout() {}
      setRequestHeader(name, value) { sent.headers[name] = value; }
      setRequestBody(body) { sent.body = body; }
      execute() { return { getStatusCode: () => 202, getBody: () => '{"status":"accepted"}' }; }
    } };
    globalThis.inputs = JSON.parse(process.argv[1]);
    globalThis.outputs = {};
    new Function(require("node:fs").readFileSync("action.js", "utf8"))();
    console.log(JSON.stringify({ sent, outputs }));
    """
    payload = {"event": "conversation:recordings:created", "conversationId": CONVERSATION}
    inputs = {"payload": json.dumps(payload), "key_id": KEY_ID, "secret": SECRET.decode()}
    done = subprocess.run(
        ["node", "-e", stand_ins, json.dumps(inputs)], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    result = json.loads(done.stdout)
    body = result["sent"]["body"].encode()
    header = result["sent"]["headers"]["Custody-Signature"]
    mac = hmac.digest(SECRET, b"1793613600.k1." + body, hashlib.sha256)
    assert result["sent"]["url"] == ENDPOINT
    assert header.startswith("t=1793613600,k=k1,v1=")
    assert orjson.loads(body)["eventBody"] == {"conversationId": CONVERSATION}
    assert header.partition("v1=")[2].encode() == base64.b64encode(mac)
    assert parse_event(body).conversation_id == CONVERSATION
    assert result["outputs"] == {"http_status": 202, "status": "accepted"}
