"""The tag mapping's YAML file, and why one is refused: each refusal names the file, the line and the accepted form.

Belongs here: the YAML contract. Does not: what a mapping means (mapping.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from custody_pipeline.models.mapping import DEFAULT_PURPOSES, PURPOSES, AcceptedScript, MappedTag, TagMapping

MAX_BYTES = 256 * 1024
MAX_DEPTH = 8
MAX_COLUMNS = 500
MAX_KEY_CHARACTERS = 1024

# custom_data_<name> must not be one of chain_of_custody's own columns.
RESERVED_COLUMNS = frozenset({"state", "source", "captured_at"})
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,47}$")
_JSON_PATH = re.compile(r"\$(?:\.[A-Za-z_][A-Za-z0-9_-]*|\.\"[^\"]+\"|\[\d{1,6}\])+$")


class MappingError(Exception):
    """The mapping is refused. The message is `file:line: what is wrong; the accepted form`."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")
        self.path = path
        self.line = line


def load_mapping(path: Path) -> TagMapping:
    """Read and validate a mapping file.

    Raises:
        MappingError: with the file, the line and the accepted form.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise MappingError(
            path, 1, f"cannot be read ({error.strerror}); CUSTODY_MAPPING_PATH names the file"
        ) from error
    if len(raw) > MAX_BYTES:
        raise MappingError(path, 1, f"{len(raw):,} bytes; a mapping has at most {MAX_BYTES:,}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MappingError(path, raw[: error.start].count(b"\n") + 1, "not UTF-8; save the file as UTF-8") from error
    return _Reader(path).read(text, hashlib.sha256(raw).hexdigest())


class _Reader:
    """Walks the YAML nodes, so that every refusal knows its line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def refuse(self, node: Node | int, message: str) -> NoReturn:
        line = node if isinstance(node, int) else node.start_mark.line + 1
        raise MappingError(self.path, line, message)

    def read(self, text: str, sha256: str) -> TagMapping:
        root = self._compose(text)
        fields = self._fields(root, "the mapping", {"version", "purposes", "scripts", "columns"})
        if "version" not in fields or self._text(fields["version"], "version") != "1":
            self.refuse(fields.get("version", root), "expected 'version: 1'")
        purposes = self._purposes(fields["purposes"]) if "purposes" in fields else DEFAULT_PURPOSES
        if "columns" not in fields:
            self.refuse(
                root, "expected 'columns:' with at least one column, for example legal_hold: {attribute: Legal-Hold}"
            )
        columns = self._columns(fields["columns"], purposes)
        scripts = self._scripts(fields["scripts"]) if "scripts" in fields else ()
        return TagMapping(self.path, sha256, columns, scripts, purposes)

    def _compose(self, text: str) -> Node:
        try:
            self._refuse_bombs(text)
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.refuse(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}")
        except yaml.YAMLError as error:
            # Characters that YAML does not allow: the reader knows a position, not a line.
            position = getattr(error, "position", 0)
            self.refuse(text[:position].count("\n") + 1, "not YAML: a character that YAML does not allow")
        if root is None:
            self.refuse(1, "the file is empty; expected 'version: 1' and 'columns:'")
        return root

    def _refuse_bombs(self, text: str) -> None:
        """Look at the events before nodes are built: anchors multiply, and deep nesting exhausts the stack."""
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

    def _items(self, node: Node, what: str) -> Iterator[tuple[str, ScalarNode, Node]]:
        if not isinstance(node, MappingNode):
            self.refuse(node, f"{what}: expected 'name: value' lines")
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.refuse(key, f"{what}: expected a plain name before ':'")
            # Names differ for DuckDB only if they differ without regard to case.
            folded = key.value.casefold()
            if folded in seen:
                self.refuse(key, f"{what}: {key.value!r} is there twice (case does not count); remove one")
            seen.add(folded)
            yield key.value, key, value

    def _fields(self, node: Node, what: str, accepted: set[str]) -> dict[str, Node]:
        fields: dict[str, Node] = {}
        for name, key, value in self._items(node, what):
            if name not in accepted:
                self.refuse(key, f"{what}: unknown field {name!r}; accepted: {', '.join(sorted(accepted))}")
            fields[name] = value
        return fields

    def _text(self, node: Node, what: str, limit: int = MAX_KEY_CHARACTERS) -> str:
        if not isinstance(node, ScalarNode) or not node.value:
            self.refuse(node, f"{what}: expected text")
        if len(node.value) > limit:
            self.refuse(node, f"{what}: longer than {limit:,} characters")
        return str(node.value)

    def _texts(self, node: Node, what: str) -> tuple[str, ...]:
        if not isinstance(node, SequenceNode):
            self.refuse(node, f"{what}: expected a list, for example [one, two]")
        values: list[str] = []
        for item in node.value:
            value = self._text(item, what)
            if value in values:
                self.refuse(item, f"{what}: {value!r} is there twice; remove one")
            values.append(value)
        return tuple(values)

    def _flag(self, node: Node, what: str) -> bool:
        if not isinstance(node, ScalarNode) or node.tag != "tag:yaml.org,2002:bool":
            self.refuse(node, f"{what}: expected true or false")
        return node.value.casefold() in {"true", "yes", "on"}

    def _purposes(self, node: Node) -> tuple[str, ...]:
        values = self._texts(node, "purposes")
        for value, item in zip(values, node.value, strict=True):
            if value not in PURPOSES:
                self.refuse(item, f"purposes: {value!r} is no participant purpose; accepted: {', '.join(PURPOSES)}")
        if not values:
            self.refuse(node, "purposes: expected at least one, for example [agent, customer]")
        return values

    def _scripts(self, node: Node) -> tuple[AcceptedScript, ...]:
        if not isinstance(node, SequenceNode):
            self.refuse(node, "scripts: expected a list of {id, accepted_versions}")
        scripts: dict[str, AcceptedScript] = {}
        for item in node.value:
            fields = self._fields(item, "scripts", {"id", "name", "accepted_versions"})
            if "id" not in fields or "accepted_versions" not in fields:
                self.refuse(
                    item,
                    'scripts: expected id and accepted_versions, for example {id: 5c1e…, accepted_versions: ["2"]}',
                )
            script_id = self._text(fields["id"], "id")
            if script_id in scripts:
                self.refuse(item, f"scripts: id {script_id!r} is there twice; list its versions once")
            name = self._text(fields["name"], "name") if "name" in fields else ""
            versions = self._texts(fields["accepted_versions"], "accepted_versions")
            scripts[script_id] = AcceptedScript(script_id, versions, name)
        return tuple(scripts.values())

    def _columns(self, node: Node, purposes: tuple[str, ...]) -> tuple[MappedTag, ...]:
        tags: list[MappedTag] = []
        owners: dict[tuple[str, str | None], MappedTag] = {}
        order: dict[str, MappedTag] = {}
        for name, key, value in self._items(node, "columns"):
            if not _COLUMN.match(name):
                self.refuse(
                    key, f"column {name!r}: expected a letter, then letters, digits and _, lower case, at most 48"
                )
            if name in RESERVED_COLUMNS:
                self.refuse(key, f"column {name!r}: custom_data_{name} is a column of the contract; rename it")
            tag = self._tag(name, value, purposes)
            for attribute in tag.names:
                owner = owners.setdefault((attribute, tag.path), tag)
                if owner is not tag:
                    self.refuse(key, f"column {name!r}: attribute {attribute!r} is already column {owner.column!r}")
                if order.setdefault(attribute, tag).purposes != tag.purposes:
                    self.refuse(key, f"column {name!r}: columns of attribute {attribute!r} must list the same purposes")
            tags.append(tag)
        if not tags:
            self.refuse(node, "columns: expected at least one, for example legal_hold: {attribute: Legal-Hold}")
        if len(tags) > MAX_COLUMNS:
            self.refuse(node, f"columns: {len(tags)} of them; accepted are {MAX_COLUMNS}")
        return tuple(tags)

    def _tag(self, column: str, node: Node, purposes: tuple[str, ...]) -> MappedTag:
        what = f"column {column!r}"
        accepted = {"attribute", "aliases", "path", "purposes", "required", "pii", "description", "applies_when"}
        fields = self._fields(node, what, accepted)
        if "attribute" not in fields:
            self.refuse(node, f"{what}: expected 'attribute: <key as set by the script or flow>'")
        attribute = self._text(fields["attribute"], "attribute")
        aliases = self._texts(fields["aliases"], "aliases") if "aliases" in fields else ()
        if attribute in aliases:
            self.refuse(fields["aliases"], f"{what}: alias {attribute!r} is the attribute itself; remove it")
        conditions: dict[str, tuple[str, ...]] = {}
        if "applies_when" in fields:
            given = self._fields(fields["applies_when"], "applies_when", {"flows", "queues", "scripts"})
            conditions = {name: self._texts(value, name) for name, value in given.items()}
        return MappedTag(
            column=column,
            attribute=attribute,
            aliases=aliases,
            path=self._path(fields["path"]) if "path" in fields else None,
            purposes=self._purposes(fields["purposes"]) if "purposes" in fields else purposes,
            required="required" in fields and self._flag(fields["required"], "required"),
            pii="pii" in fields and self._flag(fields["pii"], "pii"),
            description=self._text(fields["description"], "description") if "description" in fields else "",
            **conditions,
        )

    def _path(self, node: Node) -> str:
        value = self._text(node, "path")
        if not _JSON_PATH.match(value):
            self.refuse(node, f'path: {value!r} can match nothing; expected e.g. $.case.id, $.items[0] or $."a b"')
        return value
