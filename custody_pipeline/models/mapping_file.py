"""Reading the tag mapping's YAML file. Each refusal names the file, the line and the accepted form.

Belongs here: the YAML contract. Does not: what a mapping means (mapping.py).
"""

from __future__ import annotations

import re
from pathlib import Path

from yaml.nodes import Node, SequenceNode

from custody_pipeline.io.yaml_file import RefusedFileError, YamlReader
from custody_pipeline.models.mapping import DEFAULT_PURPOSES, PURPOSES, AcceptedScript, MappedTag, TagMapping

MAX_COLUMNS = 500

# custom_data_<name> must not be one of chain_of_custody's own columns.
RESERVED_COLUMNS = frozenset({"state", "source", "captured_at"})
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,47}")
_JSON_PATH = re.compile(r"\$(?:\.[A-Za-z_][A-Za-z0-9_-]*|\.\"[^\"]+\"|\[\d{1,6}\])+")


def is_tag_column(name: str) -> bool:
    """Whether a column of chain_of_custody is that of a mapped tag."""
    return name.startswith("custom_data_") and name.removeprefix("custom_data_") not in RESERVED_COLUMNS


class MappingError(RefusedFileError):
    """The mapping is refused."""


def load_mapping(path: Path) -> TagMapping:
    """Read and validate a mapping file.

    Raises:
        MappingError: with the file, the line and the accepted form.
    """
    return _Reader(path).read()


class _Reader(YamlReader):
    refusal = MappingError
    what = "a mapping"
    expected = "'version: 1' and 'columns:'"
    hint = "CUSTODY_MAPPING_PATH names the file"

    def read(self) -> TagMapping:
        example = " with at least one column, for example legal_hold: {attribute: Legal-Hold}"
        sha256, fields = self.document("the mapping", {"columns": example}, {"purposes", "prefixes", "scripts"})
        purposes = self._purposes(fields["purposes"]) if "purposes" in fields else DEFAULT_PURPOSES
        prefixes = self.texts(fields["prefixes"], "prefixes") if "prefixes" in fields else ()
        columns = self._columns(fields["columns"], purposes, prefixes)
        scripts = self._scripts(fields["scripts"]) if "scripts" in fields else ()
        return TagMapping(self.path, sha256, columns, scripts, purposes)

    def _purposes(self, node: Node) -> tuple[str, ...]:
        values = self.texts(node, "purposes")
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
            fields = self.fields(item, "scripts", {"id", "name", "accepted_versions"})
            if "id" not in fields or "accepted_versions" not in fields:
                self.refuse(
                    item,
                    'scripts: expected id and accepted_versions, for example {id: 5c1e…, accepted_versions: ["2"]}',
                )
            script_id = self.text(fields["id"], "id")
            if script_id in scripts:
                self.refuse(item, f"scripts: id {script_id!r} is there twice; list its versions once")
            name = self.text(fields["name"], "name") if "name" in fields else ""
            versions = self.texts(fields["accepted_versions"], "accepted_versions")
            scripts[script_id] = AcceptedScript(script_id, versions, name)
        return tuple(scripts.values())

    def _columns(self, node: Node, purposes: tuple[str, ...], prefixes: tuple[str, ...]) -> tuple[MappedTag, ...]:
        tags: list[MappedTag] = []
        owners: dict[tuple[str, str | None], MappedTag] = {}
        order: dict[str, MappedTag] = {}
        for name, key, value in self.items(node, "columns"):
            if not _COLUMN.fullmatch(name):
                self.refuse(
                    key, f"column {name!r}: expected a letter, then letters, digits and _, lower case, at most 48"
                )
            if name in RESERVED_COLUMNS:
                self.refuse(key, f"column {name!r}: custom_data_{name} is a column of the contract; rename it")
            tag = self._tag(name, value, purposes, prefixes)
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

    def _tag(self, column: str, node: Node, purposes: tuple[str, ...], prefixes: tuple[str, ...]) -> MappedTag:
        what = f"column {column!r}"
        accepted = {"attribute", "aliases", "path", "purposes", "required", "pii", "description", "applies_when"}
        fields = self.fields(node, what, accepted)
        if "attribute" not in fields:
            self.refuse(node, f"{what}: expected 'attribute: <key as set by the script or flow>'")
        attribute = self.text(fields["attribute"], "attribute")
        aliases = self.texts(fields["aliases"], "aliases") if "aliases" in fields else ()
        if attribute in aliases:
            self.refuse(fields["aliases"], f"{what}: alias {attribute!r} is the attribute itself; remove it")
        conditions: dict[str, tuple[str, ...]] = {}
        if "applies_when" in fields:
            given = self.fields(fields["applies_when"], "applies_when", {"flows", "queues", "scripts"})
            conditions = {name: self.texts(value, name) for name, value in given.items()}
        return MappedTag(
            column=column,
            attribute=attribute,
            aliases=aliases,
            prefixes=prefixes,
            path=self._path(fields["path"]) if "path" in fields else None,
            purposes=self._purposes(fields["purposes"]) if "purposes" in fields else purposes,
            required="required" in fields and self.flag(fields["required"], "required"),
            pii="pii" in fields and self.flag(fields["pii"], "pii"),
            description=self.text(fields["description"], "description") if "description" in fields else "",
            **conditions,
        )

    def _path(self, node: Node) -> str:
        value = self.text(node, "path")
        if not _JSON_PATH.fullmatch(value):
            self.refuse(node, f'path: {value!r} can match nothing; expected e.g. $.case.id, $.items[0] or $."a b"')
        return value
