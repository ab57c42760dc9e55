"""YAML files that people write: read node by node, so that each refusal names the file, the line and the accepted form.

Belongs here: reading safely, and the plain kinds of values. Does not: what a file says (models/mapping_file.py,
matters/matter_file.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_BYTES = 256 * 1024
MAX_DEPTH = 8
MAX_TEXT = 1024


class RefusedFileError(Exception):
    """A file is refused. The message is `file:line: what is wrong; the accepted form`."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")
        self.path = path
        self.line = line


class YamlReader:
    """Walks the YAML nodes of one file.

    Attributes:
        what: the file's name in messages.
        expected: the lines that an empty file lacks.
        hint: the remedy for a file that cannot be read.
    """

    refusal: type[RefusedFileError] = RefusedFileError
    what = "the file"
    expected = "'version: 1'"
    hint = "name a file that can be read"

    def __init__(self, path: Path) -> None:
        self.path = path

    def refuse(self, node: Node | int, message: str) -> NoReturn:
        """Raise with the line of `node`, or with a line."""
        line = node if isinstance(node, int) else node.start_mark.line + 1
        raise self.refusal(self.path, line, message)

    def document(self, what: str, required: Mapping[str, str], optional: set[str]) -> tuple[str, dict[str, Node]]:
        """The file's SHA-256, and its fields beside the version.

        Args:
            what: the file's name in messages.
            required: names of fields → the text about a missing field.
        """
        raw, root = self._load()
        fields = self.fields(root, what, {"version", *required, *optional})
        version = fields.pop("version", None)
        if version is None or self.text(version, "version") != "1":
            self.refuse(version or root, "expected 'version: 1'")
        for name, message in required.items():
            if name not in fields:
                self.refuse(root, f"expected '{name}:'{message}")
        return hashlib.sha256(raw).hexdigest(), fields

    def _load(self) -> tuple[bytes, Node]:
        try:
            raw = self.path.read_bytes()
        except OSError as error:
            raise self.refusal(self.path, 1, f"cannot be read ({error.strerror}); {self.hint}") from error
        if len(raw) > MAX_BYTES:
            self.refuse(1, f"{len(raw):,} bytes; {self.what} has at most {MAX_BYTES:,}")
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            raise self.refusal(self.path, line, "not UTF-8; save the file as UTF-8") from error
        return raw, self._compose(text)

    def _compose(self, text: str) -> Node:
        try:
            self._refuse_bombs(text)
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.refuse(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}")
        except yaml.YAMLError as error:
            # A character that YAML does not allow: the reader gives a position, not a line.
            position = getattr(error, "position", 0)
            self.refuse(text[:position].count("\n") + 1, "not YAML: a character that YAML does not allow")
        if root is None:
            self.refuse(1, f"the file is empty; expected {self.expected}")
        return root

    def _refuse_bombs(self, text: str) -> None:
        """Examine the events before nodes are built: anchors can multiply, and deep nesting can exhaust the stack."""
        depth = documents = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                self.refuse(line, "anchors and aliases (&, *) are not accepted; write the value out")
            if getattr(event, "tag", None):
                self.refuse(line, "YAML tags (!…) are not accepted; write a plain value")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    self.refuse(line, f"nested deeper than {MAX_DEPTH} levels")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.refuse(line, "expected one YAML document, without '---' between")

    def items(self, node: Node, what: str) -> Iterator[tuple[str, ScalarNode, Node]]:
        """Name, its node and the value's node of each `name: value`."""
        if not isinstance(node, MappingNode):
            self.refuse(node, f"{what}: expected 'name: value' lines")
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.refuse(key, f"{what}: expected a plain name before ':'")
            # For DuckDB, names that differ only in case are equal.
            folded = key.value.casefold()
            if folded in seen:
                self.refuse(key, f"{what}: {key.value!r} is there twice (case does not count); remove one")
            seen.add(folded)
            yield key.value, key, value

    def fields(self, node: Node, what: str, accepted: set[str]) -> dict[str, Node]:
        """Name → node of the value. Unknown names are refused."""
        fields: dict[str, Node] = {}
        for name, key, value in self.items(node, what):
            if name not in accepted:
                self.refuse(key, f"{what}: unknown field {name!r}; accepted: {', '.join(sorted(accepted))}")
            fields[name] = value
        return fields

    def text(self, node: Node, what: str, limit: int = MAX_TEXT) -> str:
        """Plain text that is not empty."""
        if not isinstance(node, ScalarNode) or not node.value:
            self.refuse(node, f"{what}: expected text")
        if len(node.value) > limit:
            self.refuse(node, f"{what}: longer than {limit:,} characters")
        if re.search("[\0\ud800-\udfff]", node.value):
            self.refuse(node, f"{what}: a NUL or half a character (\\uD800 to \\uDFFF)")
        return str(node.value)

    def texts(self, node: Node, what: str) -> tuple[str, ...]:
        """A list of different texts."""
        if not isinstance(node, SequenceNode):
            self.refuse(node, f"{what}: expected a list, for example [one, two]")
        values: list[str] = []
        for item in node.value:
            value = self.text(item, what)
            if value in values:
                self.refuse(item, f"{what}: {value!r} is there twice; remove one")
            values.append(value)
        return tuple(values)

    def flag(self, node: Node, what: str) -> bool:
        """True or false."""
        if not isinstance(node, ScalarNode) or node.tag != "tag:yaml.org,2002:bool":
            self.refuse(node, f"{what}: expected true or false")
        return node.value.casefold() in {"true", "yes", "on"}
