"""Objects that an organisation needs so that its events arrive: triggers in Genesys Cloud, and definitions to import.

Belongs here: the triggers' plan, installation and removal; rendering the definitions. Does not: receiving anything.

The triggers (`/api/v2/processautomation/triggers`; models `Trigger`, `CreateTriggerRequest` and `UpdateTriggerRequest`
of the vendor's SDK) are recognised by their names, which begin with `custody capture: `. Everything is idempotent: a
plan compares the present triggers with the wanted ones, and a second installation changes nothing. No other trigger is
touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal, Protocol
from urllib.parse import parse_qs, urlsplit

import orjson
from jinja2 import Environment, StrictUndefined

from custody_pipeline.capture.envelopes import ATTRIBUTES_TOPIC, CUSTOMER_END_TOPIC
from custody_pipeline.extract.genesys import Answer, entities_of
from custody_pipeline.extract.genesys_errors import NotFound, UnexpectedAnswer

TRIGGERS = "/api/v2/processautomation/triggers"
NAME_PREFIX = "custody capture: "
PAGE_SIZE = 200
MAX_PAGES = 100
_COMPARED = ("topicName", "target", "matchCriteria", "enabled", "eventTTLSeconds", "description")
_DEFINITIONS = {
    "genesys/data-action.custom.json": "data-action.custom.json",
    "genesys/index.js": "function.js.j2",
    "genesys/workflow.yaml": "workflow.yaml",
    "servicenow/flow-action.js": "servicenow-action.js.j2",
    "aws/eventbridge-sqs.yaml": "eventbridge-sqs.yaml",
}


class TriggerApi(Protocol):
    """The part of `GenesysClient` that installing uses. Every method may raise `GenesysError`."""

    def get(self, path: str, **params: str | int | bool) -> Answer:
        """GET."""

    def post(self, path: str, body: object) -> Answer:
        """POST JSON."""

    def put(self, path: str, body: object) -> Answer:
        """PUT JSON."""

    def delete(self, path: str) -> Answer:
        """DELETE."""


@dataclass(frozen=True)
class Change:
    """One line of a plan.

    Attributes:
        action: what is to be done; `keep` changes nothing, `unavailable` cannot be done in this organisation.
        differences: (field, present value, wanted value) for each field that differs.
        wanted: the request body, for `create`, `replace` and `update`.
    """

    action: Literal["create", "update", "replace", "delete", "keep", "unavailable"]
    name: str
    differences: tuple[tuple[str, object, object], ...] = ()
    wanted: dict[str, Any] = field(default_factory=dict)
    trigger_id: str | None = None

    def __str__(self) -> str:
        sign = {"create": "+", "delete": "-", "keep": " ", "unavailable": "!"}.get(self.action, "~")
        lines = [f"{sign} {self.action} trigger {self.name!r}"]
        lines += [f"    {name}: {now!r} -> {wanted!r}" for name, now, wanted in self.differences]
        return "\n".join(lines)


def wanted_triggers(workflow_id: str) -> list[dict[str, Any]]:
    """The wanted triggers; both start the workflow `workflow_id` with the event's fields at the top level.

    Raises:
        ValueError: `workflow_id` is no UUID.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", workflow_id):
        raise ValueError("CUSTODY_TRIGGER_WORKFLOW_ID: expected the workflow's id, a UUID (see its URL in Architect)")
    target = {
        "type": "Workflow",
        "id": workflow_id.lower(),
        "workflowTargetSettings": {"dataFormat": "TopLevelPrimitives"},
    }
    topics = {"attributes": ATTRIBUTES_TOPIC, "customer end": CUSTOMER_END_TOPIC}
    return [
        {
            "name": f"{NAME_PREFIX}{label}",
            "topicName": topic,
            "target": target,
            "matchCriteria": [],
            "enabled": True,
            # A late event is still useful: the worker reads the conversation as it is then.
            "eventTTLSeconds": 3600,
            "description": "Passes the event to the custody receiver; installed by custody triggers install.",
        }
        for label, topic in topics.items()
    ]


def plan(api: TriggerApi, workflow_id: str) -> list[Change]:
    """The changes that installing would make.

    Raises:
        ValueError: `workflow_id` is no UUID.
        GenesysError: the triggers cannot be listed.
    """
    ours = _installed(api)
    offered = set(_entities(api, f"{TRIGGERS}/topics"))
    changes, settled = [], set[str]()
    for wanted in wanted_triggers(workflow_id):
        present = next((trigger for trigger in ours if trigger["name"] == wanted["name"]), None)
        if wanted["topicName"] not in offered:
            changes.append(Change("unavailable", wanted["name"], (("topicName", None, wanted["topicName"]),)))
        elif present is None:
            changes.append(Change("create", wanted["name"], wanted=wanted))
        else:
            settled.add(present["id"])
            changes.append(_compare(present, wanted))
    return changes + _deletions(trigger for trigger in ours if trigger["id"] not in settled)


def install(api: TriggerApi, workflow_id: str) -> list[Change]:
    """Install the triggers; returns the changes. A topic that the organisation does not offer is left out and returned.

    Raises:
        ValueError: `workflow_id` is no UUID.
        GenesysError: a change was refused; earlier changes are in effect, and installing again does the rest.
    """
    return _applied(api, [change for change in plan(api, workflow_id) if change.action != "keep"])


def remove(api: TriggerApi) -> list[Change]:
    """Delete our triggers; returns what was deleted.

    Raises:
        GenesysError: they cannot be listed, or a deletion was refused.
    """
    return _applied(api, _deletions(_installed(api)))


def definitions(endpoint: str) -> dict[str, str]:
    """The files to import, by relative path.

    Args:
        endpoint: the receiver's URL as senders reach it, for example `https://custody.example.com/events`.

    Raises:
        ValueError: `endpoint` is no https URL.
    """
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.netloc or re.search(r"[\s\"'\\<>]", endpoint):
        raise ValueError("expected the receiver's https URL, for example https://custody.example.com/events")
    # Scripts and JSON, not HTML: values go through tojson where they are quoted, and the URL was checked above.
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    folder = resources.files("custody_pipeline.capture.install")
    rendered = {}
    for path, source in _DEFINITIONS.items():
        text = (folder / source).read_text(encoding="utf-8")
        rendered[path] = environment.from_string(text).render(endpoint=endpoint) if source.endswith(".j2") else text
    return rendered


def _compare(present: dict[str, Any], wanted: dict[str, Any]) -> Change:
    differences = tuple(
        (name, present.get(name), wanted[name]) for name in _COMPARED if not _covers(present.get(name), wanted[name])
    )
    trigger_id = present["id"]
    if not differences:
        return Change("keep", wanted["name"], trigger_id=trigger_id)
    # UpdateTriggerRequest: "topicName cannot be updated, a new trigger must be created to use a new topicName".
    action: Literal["replace", "update"] = "replace" if differences[0][0] == "topicName" else "update"
    body = wanted if action == "replace" else wanted | {"version": present.get("version")}
    return Change(action, wanted["name"], differences, body, trigger_id)


def _covers(present: object, wanted: object) -> bool:
    """True if `present` has every wanted value; the vendor may add fields, and leave out empty lists."""
    if isinstance(wanted, dict):
        return isinstance(present, dict) and all(_covers(present.get(key), value) for key, value in wanted.items())
    return (present or []) == wanted if isinstance(wanted, list) else present == wanted


def _deletions(triggers: Iterable[dict[str, Any]]) -> list[Change]:
    return [Change("delete", trigger["name"], trigger_id=trigger["id"]) for trigger in triggers]


def _applied(api: TriggerApi, changes: list[Change]) -> list[Change]:
    for change in changes:
        if change.action in {"delete", "replace"}:
            with suppress(NotFound):  # deleted already, for example by a request whose answer was lost
                api.delete(f"{TRIGGERS}/{change.trigger_id}")
        if change.action in {"create", "replace"}:
            api.post(TRIGGERS, change.wanted)
        if change.action == "update":
            api.put(f"{TRIGGERS}/{change.trigger_id}", change.wanted)
    return changes


def _installed(api: TriggerApi) -> list[dict[str, Any]]:
    return [trigger for trigger in _entities(api, TRIGGERS) if str(trigger.get("name", "")).startswith(NAME_PREFIX)]


def _entities(api: TriggerApi, path: str) -> Iterator[Any]:
    """All entities of a listing that goes on while there is a `nextUri` with an `after` cursor."""
    cursor: dict[str, str] = {}
    for _ in range(MAX_PAGES):
        answer = api.get(path, pageSize=PAGE_SIZE, **cursor)
        yield from map(orjson.loads, entities_of(answer))
        after = parse_qs(urlsplit(answer.object().get("nextUri") or "").query).get("after")
        if not after:
            return
        cursor = {"after": after[0]}
    raise UnexpectedAnswer(answer.request, f"the listing has more than {MAX_PAGES} pages")
