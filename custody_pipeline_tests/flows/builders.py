"""Architect exports in miniature, as Python values that are written as JSON, which is YAML."""

from __future__ import annotations

import json
from typing import Any

from custody_pipeline.flows.document import FlowDocument, parse_flow
from custody_pipeline.models.mapping import MappedTag

Action = dict[str, Any]

HOLD = MappedTag("legal_hold", "Legal-Hold", required=True, purposes=("agent", "customer"))
CONSENT = MappedTag("consent", "Consent.Recorded", aliases=("consent",), purposes=("ivr",))
MATTER = MappedTag("matter", "Matter-Number", required=True, purposes=("customer",), queues=("Claims",))
TAGS = (HOLD, CONSENT)


def put(*names: str) -> Action:
    return {"setParticipantData": {"name": "Keep", "attributes": [attribute(name) for name in names]}}


def attribute(name: str, value: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"attribute": {"name": {"lit": name}, "value": value or {"exp": "Task.x"}}}


def decide(yes: list[Action] | None = None, no: list[Action] | None = None, name: str = "Open?") -> Action:
    outputs = {label: {"actions": actions} for label, actions in (("yes", yes), ("no", no)) if actions is not None}
    return {"decision": {"name": name, "condition": {"exp": "Flow.open"}, "outputs": outputs}}


def disconnect(name: str = "Bye") -> Action:
    return {"disconnect": {"name": name}}


def transfer(queue: str = "Claims", failure: list[Action] | None = None) -> Action:
    outputs = {"outputs": {"failure": {"actions": failure}}} if failure is not None else {}
    return {"transferToAcd": {"name": f"To {queue}", "targetQueue": {"lit": {"name": queue}}, **outputs}}


def loop(body: list[Action], count: int | str = 3) -> Action:
    return {"loop": {"name": "Loop", "loopCount": {"lit": count}, "outputs": {"loop": {"actions": body}}}}


def call(task: str, **outputs: list[Action]) -> Action:
    target = {"name": f"Call {task}", "targetTaskRef": f"/inboundCall/tasks/task[{task}]"}
    return {"callTask": {**target, "outputs": {name: {"actions": actions} for name, actions in outputs.items()}}}


def jump(task: str) -> Action:
    return {"jumpToTask": {"name": f"Jump to {task}", "targetTaskRef": f"/inboundCall/tasks/task[{task}]"}}


def end_task(path: str = "default") -> Action:
    return {"endTask": {"name": "End", "outputPath": {"name": path}}}


def task(name: str, actions: list[Action]) -> Action:
    return {"task": {"name": name, "refId": name, "actions": actions}}


def flow_yaml(*tasks: Action, **fields: Any) -> str:
    """A call flow that starts with its first task, unless `startUpRef` says otherwise."""
    body: dict[str, Any] = {"name": "Main IVR", "defaultLanguage": "en-us", **fields}
    if tasks:
        first = tasks[0]["task"]["refId"]
        body = {"startUpRef": f"/inboundCall/tasks/task[{first}]", **body, "tasks": list(tasks)}
    return json.dumps({"inboundCall": body}, indent=1)


def flow(*tasks: Action, **fields: Any) -> FlowDocument:
    return parse_flow(flow_yaml(*tasks, **fields).encode(), "flow.yaml")


def one_task(*actions: Action) -> FlowDocument:
    return flow(task("Start", list(actions)))


def of_kind(kind: str, *actions: Action, **fields: Any) -> FlowDocument:
    """A flow of one state, bot or start, as kinds other than call flows have it."""
    body = {"startUpTaskActions": list(actions), **fields}
    return parse_flow(json.dumps({kind: body}, indent=1).encode(), "flow.yaml")
