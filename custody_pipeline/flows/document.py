"""An exported flow's YAML as plain nodes with their line.

Belongs here: bytes to nodes, and the refusals. Does not: the meaning of nodes (actions.py).

The nodes are built from parser events in a loop, not by recursion: a real flow nests decisions some hundreds of levels
deep, which a recursive reader does not survive. Exports have neither anchors nor tags. Both are refused, which also
prevents YAML that multiplies.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

import orjson
import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

MAX_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 2_000
MAX_NODES = 3_000_000

_PLACEHOLDER = re.compile(r"\{\{([^{}\n]*)\}\}")
# Two characters for private use replace the braces while YAML is read: everywhere in YAML they are text.
_OPEN, _CLOSE = "\ue000", "\ue001"
# Base64 of "%7B%22": the beginning of URL-encoded JSON.
_NATIVE = re.compile(r"\s*JTdCJTIy")

_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class FlowError(Exception):
    """A flow cannot be read. The message is `source:line: what is wrong; what to do`."""

    def __init__(self, source: str, line: int, message: str):
        super().__init__(f"{source}:{line}: {message}")
        self.source, self.line = source, line


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as written: YAML's types for texts such as `yes` or `007` are not applied."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """Names to nodes, in the file's order."""

    fields: dict[str, Node]
    line: int

    def get(self, *path: str) -> Node | None:
        """The node at a path of names, if there is one."""
        node: Node | None = self
        for name in path:
            node = node.fields.get(name) if isinstance(node, Mapping) else None
        return node

    def mapping(self, *path: str) -> Mapping | None:
        """The mapping at a path; None if there is none or it is no mapping."""
        node = self.get(*path)
        return node if isinstance(node, Mapping) else None

    def below(self, *path: str) -> dict[str, Node]:
        """The fields of the mapping at a path; none if there is none."""
        node = self.mapping(*path)
        return node.fields if node else {}

    def items(self, name: str) -> list[Node]:
        """The nodes of the list under `name`; none if there is none."""
        node = self.fields.get(name)
        return node.nodes if isinstance(node, Sequence) else []

    def text(self, *path: str, default: str = "") -> str:
        """The scalar at a path."""
        node = self.get(*path)
        return node.text if isinstance(node, Scalar) else default


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of nodes."""

    nodes: list[Node]
    line: int


Node: TypeAlias = Scalar | Mapping | Sequence


def nodes_within(node: Node) -> Iterator[Node]:
    """The node and all nodes within it, at any depth."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        yield here
        if isinstance(here, Sequence):
            waiting.extend(here.nodes)
        elif isinstance(here, Mapping):
            waiting.extend(here.fields.values())


@dataclass(frozen=True)
class Note:
    """A line of the export, with a remark."""

    line: int
    text: str


@dataclass(frozen=True)
class FlowDocument:
    """One exported flow: where it came from, its kind (`inboundCall`, `workflow`…) and its content.

    `placeholders` are those of a template, such as `{{queue}}`, that are without quotes and were read as texts.
    """

    source: str
    kind: str
    body: Mapping
    placeholders: tuple[Scalar, ...] = ()

    @property
    def name(self) -> str:
        """The flow's name, or its source when it has none."""
        return self.body.text("name", default=self.source)


def read_flow(path: Path | str) -> FlowDocument:
    """Read an exported flow from a file.

    Raises:
        FlowError: with file and line, when it cannot be read, is no YAML, or is no Architect flow.
    """
    source = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FlowError(source, 1, f"cannot be read ({error.strerror}); expected a flow exported as YAML") from error
    return parse_flow(raw, source)


def parse_flow(raw: bytes, source: str) -> FlowDocument:
    """Read an exported flow from bytes; `source` names them in messages.

    Raises:
        FlowError: with source and line.
    """
    if len(raw) > MAX_BYTES:
        raise FlowError(source, 1, f"more than {MAX_BYTES:,} bytes; no flow is that large")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise FlowError(source, line, "not UTF-8; export the flow as YAML again") from error
    if _NATIVE.match(text):
        raise FlowError(source, 1, _native(text))
    placeholders: tuple[Scalar, ...] = ()
    try:
        root = _build(text, source)
    except FlowError:
        # Archy's templates: valid YAML only once they are filled in.
        placeholders = tuple(_placeholders(text))
        if not placeholders:
            raise
        root = _build(_PLACEHOLDER.sub(rf"{_OPEN}\1{_CLOSE}", text), source)
    if not isinstance(root, Mapping) or len(root.fields) != 1:
        raise FlowError(source, root.line, "expected one flow, for example 'inboundCall:' with its content below")
    kind, body = next(iter(root.fields.items()))
    if not isinstance(body, Mapping):
        raise FlowError(source, body.line, f"expected the content of {kind!r} below it")
    return FlowDocument(source, kind, body, placeholders)


def _placeholders(text: str) -> Iterator[Scalar]:
    for number, line in enumerate(text.splitlines(), 1):
        yield from (Scalar(found.group(), number) for found in _PLACEHOLDER.finditer(line))


def _native(text: str) -> str:
    """The message about Architect's own format: JSON, URL-encoded, in Base64."""
    what = "a flow in Architect's own format (.i3…)"
    try:
        found = orjson.loads(unquote(base64.b64decode(text).decode("ascii")))
        what += f", {found['type']} {found['name']!r}"
    except (ValueError, TypeError, KeyError):
        pass
    return f"{what}; export it as YAML: Architect, Export, or custody flow check with the flow's id"


@dataclass(slots=True)
class _Open:
    """A collection that is being read; of a mapping, the name whose node comes next."""

    node: Mapping | Sequence
    name: str | None = None


def _build(text: str, source: str) -> Node:
    stack: list[_Open] = []
    root: Node | None = None
    count = 0
    node: Node
    for event in _events(text, source):
        line = _line(event)
        if isinstance(event, CollectionEndEvent):
            node = stack.pop().node
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            stack.append(_Open(Mapping({}, line) if isinstance(event, MappingStartEvent) else Sequence([], line)))
            if len(stack) > MAX_DEPTH:
                raise FlowError(source, line, f"nested deeper than {MAX_DEPTH:,} levels")
            if len(stack) > 1 and isinstance(stack[-2].node, Mapping) and stack[-2].name is None:
                raise FlowError(source, line, _NAME_EXPECTED)
            continue
        elif isinstance(event, ScalarEvent):
            node = Scalar(event.value.replace(_OPEN, "{{").replace(_CLOSE, "}}"), line)
        else:
            continue
        count += 1
        if count > MAX_NODES:
            raise FlowError(source, line, f"more than {MAX_NODES:,} values; no flow is that large")
        if not stack:
            root = node
        else:
            _put(stack[-1], node, source)
    if root is None:
        raise FlowError(source, 1, "the file is empty; expected a flow exported as YAML")
    return root


_NAME_EXPECTED = "a name is expected here; export the flow again"


def _put(parent: _Open, node: Node, source: str) -> None:
    if isinstance(parent.node, Sequence):
        parent.node.nodes.append(node)
    elif parent.name is None:
        assert isinstance(node, Scalar)  # noqa: S101 - _build refuses other keys when they begin
        if node.text in parent.node.fields:
            raise FlowError(source, node.line, f"{node.text!r} is there twice; export the flow again")
        parent.name = node.text
    else:
        parent.node.fields[parent.name] = node
        parent.name = None


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _events(text: str, source: str) -> Iterator[yaml.Event]:
    documents = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            line = _line(event)
            if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
                raise FlowError(source, line, "anchors and aliases (&, *) are not accepted; exports have none")
            if getattr(event, "tag", None):
                raise FlowError(source, line, "YAML tags (!…) are not accepted; exports have none")
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise FlowError(source, line, "expected one flow in the file, without '---' between")
            yield event
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise FlowError(source, mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        raise FlowError(source, text[:position].count("\n") + 1, "not YAML: a character it does not allow") from error
