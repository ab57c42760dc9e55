"""Flow variables that are given a value and never reach participant data.

Belongs here: which variable feeds which. Does not: whether a path writes a tag (writes.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from custody_pipeline.flows.document import FlowDocument, Mapping, Node, Scalar, Sequence

# Built-in scopes such as Call. and Message. are read-only, so they are not in `updateData`.
_VARIABLE = re.compile(r"\b(?:Flow|Task|State|Slot|Menu|Bot|Common)\.[A-Za-z_]\w*", re.IGNORECASE)
_WRITERS = ("setParticipantData", "setConversationData")


@dataclass(frozen=True)
class UnsavedVariable:
    """A variable that `Update Data` sets and no `Set Participant Data` uses, directly or through others."""

    name: str
    line: int


def unsaved_variables(document: FlowDocument) -> list[UnsavedVariable]:
    """The variables, in the file's order; each with the line where it is first set. Case does not count."""
    first: dict[str, UnsavedVariable] = {}
    feeds: dict[str, set[str]] = {}
    # An output goes to the caller of the flow, the module or the task.
    saved = set(_outputs(document.body))
    for kind, content in _actions(document.body):
        if kind == "updateData":
            for name, line, sources in _assignments(content):
                known = first.get(name.casefold())
                if known is None or line < known.line:
                    first[name.casefold()] = UnsavedVariable(name, line)
                feeds.setdefault(name.casefold(), set()).update(sources)
        elif kind in _WRITERS:
            saved.update(_mentioned(content))
    waiting = list(saved)
    while waiting:
        for source in feeds.get(waiting.pop(), ()):
            if source not in saved:
                saved.add(source)
                waiting.append(source)
    return sorted((found for key, found in first.items() if key not in saved), key=lambda found: found.line)


def _actions(body: Mapping) -> Iterator[tuple[str, Mapping]]:
    for node in _mappings(body):
        for name, child in node.fields.items():
            if isinstance(child, Mapping) and (name == "updateData" or name in _WRITERS):
                yield name, child


def _outputs(body: Mapping) -> Iterator[str]:
    for node in _mappings(body):
        if node.text("isOutput") == "true":
            yield node.text("name").casefold()


def _mappings(body: Mapping) -> Iterator[Mapping]:
    """The mapping and all mappings within it, at any depth."""
    waiting: list[Node] = [body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Sequence):
            waiting.extend(node.nodes)
        elif isinstance(node, Mapping):
            yield node
            waiting.extend(node.fields.values())


def _assignments(content: Mapping) -> Iterator[tuple[str, int, set[str]]]:
    statements = content.get("statements")
    for node in statements.nodes if isinstance(statements, Sequence) else ():
        for statement in node.fields.values() if isinstance(node, Mapping) else ():
            variable = statement.get("variable") if isinstance(statement, Mapping) else None
            value = statement.get("value") if isinstance(statement, Mapping) else None
            if isinstance(variable, Scalar) and variable.text:
                yield variable.text, variable.line, set(_mentioned(value))


def _mentioned(node: Node | None) -> Iterator[str]:
    waiting: list[Node] = [node] if node is not None else []
    while waiting:
        here = waiting.pop()
        if isinstance(here, Scalar):
            yield from (match.group().casefold() for match in _VARIABLE.finditer(here.text))
        else:
            waiting.extend(here.nodes if isinstance(here, Sequence) else here.fields.values())
