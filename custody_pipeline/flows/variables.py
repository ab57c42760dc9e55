"""Flow variables that are given a value and never reach participant data.

Belongs here: which variable feeds which. Does not: whether a path writes a tag (writes.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from custody_pipeline.flows.document import FlowDocument, Mapping, Node, Scalar, nodes_within

# Built-in scopes such as Call. and Message. are read-only, so they are not in `updateData`.
_VARIABLE = re.compile(r"\b(?:Flow|Task|State|Slot|Menu|Bot|Common)\.[A-Za-z_]\w*", re.IGNORECASE)
_WRITERS = ("setParticipantData", "setConversationData")


def unsaved_variables(document: FlowDocument) -> list[Scalar]:
    """Variables that `Update Data` sets and no `Set Participant Data` uses, directly or through others.

    Each is as it is first set; they are in the file's order. Case does not count.
    """
    first: dict[str, Scalar] = {}
    feeds: dict[str, set[str]] = {}
    # An output goes to the caller of the flow, the module or the task.
    saved: set[str] = set()
    for mapping in nodes_within(document.body):
        if not isinstance(mapping, Mapping):
            continue
        if mapping.text("isOutput") == "true":
            saved.add(mapping.text("name").casefold())
        if (update := mapping.mapping("updateData")) is not None:
            for variable, sources in _assignments(update):
                name = variable.text.casefold()
                first[name] = min(first.get(name, variable), variable, key=lambda found: found.line)
                feeds.setdefault(name, set()).update(sources)
        for writer in _WRITERS:
            if (written := mapping.mapping(writer)) is not None:
                saved.update(_mentioned(written))
    waiting = list(saved)
    while waiting:
        for source in feeds.get(waiting.pop(), ()):
            if source not in saved:
                saved.add(source)
                waiting.append(source)
    return sorted((found for key, found in first.items() if key not in saved), key=lambda found: found.line)


def _assignments(content: Mapping) -> Iterator[tuple[Scalar, set[str]]]:
    for node in content.items("statements"):
        for statement in node.fields.values() if isinstance(node, Mapping) else ():
            if not isinstance(statement, Mapping):
                continue
            variable = statement.get("variable")
            if isinstance(variable, Scalar) and variable.text:
                yield variable, set(_mentioned(statement.get("value")))


def _mentioned(node: Node | None) -> Iterator[str]:
    for here in nodes_within(node) if node is not None else ():
        if isinstance(here, Scalar):
            yield from (match.group().casefold() for match in _VARIABLE.finditer(here.text))
