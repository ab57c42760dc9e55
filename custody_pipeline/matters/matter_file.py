"""Reading the matter file (YAML). Each refusal names the file, the line and the accepted form.

Belongs here: the YAML contract and the template. Does not: the types (matter.py), the place of the file (register.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from yaml.nodes import Node, ScalarNode, SequenceNode

from custody_pipeline.io.yaml_file import MAX_TEXT, YamlReader
from custody_pipeline.matters.id_list import IdList, read_id_list
from custody_pipeline.matters.matter import (
    DATE_FORMS,
    EXCLUSION_REASONS,
    MEDIA_KINDS,
    Exclusion,
    Mask,
    Matter,
    ProductionForm,
    Selection,
    TagCondition,
    digits_of,
)

_How = Literal["=", "!=", "is set", "is missing"]

MAX_WHERE = 4096
_YEARS = range(1970, 2200)
MAX_REQUEST = 65_536
_TAG = re.compile(r"\s*(?P<key>.+?)\s*(?:(?P<how>!=|=)\s*(?P<value>.+?)|\s(?P<state>is set|is missing))\s*")
_PREFIX = re.compile(r"[A-Z][A-Z0-9_-]{0,15}")
_TAG_FORMS = "expected 'Key = value', 'Key != value', 'Key is set' or 'Key is missing'"
_SELECT = {"ids", "from", "to", "agents", "queues", "divisions", "numbers", "tags", "media", "where"}


def load_matter(path: Path) -> Matter:
    """Read and validate a matter file, with the lists of ids that it names.

    Raises:
        RefusedFileError: with the file, the line and the accepted form.
    """
    return MatterReader(path).read()


class MatterReader(YamlReader):
    """Reads a matter file; its selection is also that of other files (forgetting/policy.py)."""

    what = "a matter"
    expected = "'version: 1', 'title:' and 'select:'"
    hint = "custody matter list names the matters, custody matter new makes one"

    def read(self) -> Matter:
        """The matter."""
        plain = {"title", "number", "custodian", "requesting_party", "producing_party"}
        more = {"request", "authorised", "timezone", "exclude", "production", "mask"}
        sha256, fields = self.document("the matter", {"title": "", "select": ""}, plain | more)
        texts = {name: self._words(fields, name) for name in plain}
        exclude = fields.get("exclude")
        if exclude is not None and not isinstance(exclude, SequenceNode):
            self.refuse(exclude, "exclude: expected a list of {ids, reason}")
        return Matter(
            name=self.path.stem,
            path=self.path,
            sha256=sha256,
            **texts,
            request=self._words(fields, "request", MAX_REQUEST),
            authorised=self.texts(fields["authorised"], "authorised") if "authorised" in fields else (),
            zone=self._zone(fields["timezone"]) if "timezone" in fields else ZoneInfo("UTC"),
            selection=self.selection(fields["select"]),
            exclusions=tuple(self._exclusion(item) for item in exclude.value) if exclude is not None else (),
            form=self._form(fields.get("production")),
            mask=self._mask(fields["mask"]) if "mask" in fields else None,
        )

    def _words(self, fields: dict[str, Node], name: str, limit: int = MAX_TEXT) -> str:
        """Text that may be empty or left out."""
        node = fields.get(name)
        if node is None or (isinstance(node, ScalarNode) and not node.value):
            return ""
        return self.text(node, name, limit)

    def _zone(self, node: Node) -> ZoneInfo:
        name = self.text(node, "timezone")
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.refuse(node, f"timezone: no zone {name!r}; expected a name such as America/New_York or UTC")

    def selection(self, node: Node) -> Selection:
        """The conditions of a selection."""
        fields = self.fields(node, "select", _SELECT)
        if not fields:
            self.refuse(node, f"select: the selection is empty; expected at least one of {', '.join(sorted(_SELECT))}")
        read: dict[str, Callable[[Node, str], Any]] = {
            "ids": self._ids,
            "from": self._date,
            "to": self._date,
            "numbers": self._numbers,
            "tags": self._tags,
            "media": self._media,
            "where": partial(self.text, limit=MAX_WHERE),
        }
        values = {name: read.get(name, self.texts)(value, name) for name, value in fields.items()}
        selection = Selection(**{{"from": "first", "to": "last"}.get(name, name): values[name] for name in values})
        if selection.first and selection.last and selection.first > selection.last:
            self.refuse(fields["to"], f"to: {selection.last} is before from: {selection.first}")
        return selection

    def _ids(self, node: Node, what: str = "ids") -> IdList:
        """A list of ids, or `{file: ids.csv, column: conversation_id}`; a file is beside the matter file."""
        if isinstance(node, SequenceNode):
            ids = IdList.of(self.text(item, what) for item in node.value)
            if not ids.ids:
                self.refuse(node, f"{what}: the list is empty; expected [id, …] or {{file: ids.csv}}")
            return ids
        if isinstance(node, ScalarNode):
            self.refuse(node, f"{what}: expected [id, …] or {{file: ids.csv, column: conversation_id}}")
        fields = self.fields(node, what, {"file", "column"})
        if "file" not in fields:
            self.refuse(node, f"{what}: expected 'file: ids.csv'")
        column = self.text(fields["column"], "column") if "column" in fields else None
        return read_id_list(self.path.parent / self.text(fields["file"], "file", 4096), column)

    def _date(self, node: Node, what: str) -> date:
        text = self.text(node, what)
        try:
            day = date.fromisoformat(text)
        except ValueError:
            self.refuse(node, f"{what}: {text!r} is no date; expected YYYY-MM-DD")
        if day.year not in _YEARS:
            self.refuse(node, f"{what}: {text!r}; for an open end leave the line out")
        return day

    def _numbers(self, node: Node, what: str) -> tuple[str, ...]:
        values = self.texts(node, what)
        for value, item in zip(values, getattr(node, "value", ()), strict=True):
            if not digits_of(value):
                self.refuse(item, f"{what}: {value!r} is no number; expected '+1 555 010 0123', in quotes")
        return values

    def _tags(self, node: Node, what: str) -> tuple[TagCondition, ...]:
        conditions = []
        for value, item in zip(self.texts(node, what), getattr(node, "value", ()), strict=True):
            match = _TAG.fullmatch(value)
            if match is None:
                self.refuse(item, f"{what}: {value!r}; {_TAG_FORMS}")
            conditions.append(TagCondition(match["key"], cast("_How", match["how"] or match["state"]), match["value"]))
        return tuple(conditions)

    def _media(self, node: Node, what: str) -> tuple[str, ...]:
        values = tuple(value.lower() for value in self.texts(node, what))
        for value, item in zip(values, getattr(node, "value", ()), strict=True):
            if value not in MEDIA_KINDS:
                self.refuse(item, f"{what}: {value!r} is no kind of media; accepted: {', '.join(MEDIA_KINDS)}")
        return values

    def _exclusion(self, node: Node) -> Exclusion:
        fields = self.fields(node, "exclude", {"ids", "reason", "note"})
        if "ids" not in fields or "reason" not in fields:
            self.refuse(node, "exclude: expected ids and reason, for example {ids: [5c1e…], reason: privilege}")
        reason = self._word(fields["reason"], "reason", EXCLUSION_REASONS)
        note = self.text(fields["note"], "note") if "note" in fields else ""
        if reason == "other" and not note:
            self.refuse(fields["reason"], "reason other: expected a 'note:' that says why")
        return Exclusion(self._ids(fields["ids"]), reason, note)

    def _mask(self, node: Node) -> Mask:
        fields = self.fields(node, "mask", {"numbers", "agents", "tags"})
        words: dict[str, Any] = {}
        for name, accepted in (("numbers", ("shown", "last4", "withheld")), ("agents", ("shown", "withheld"))):
            if name in fields:
                words[name] = self._word(fields[name], name, accepted)
        if "tags" in fields:
            if isinstance(fields["tags"], SequenceNode):
                words["tags"] = self.texts(fields["tags"], "tags")
            elif (words.setdefault("tags", self.text(fields["tags"], "tags"))) not in ("pii", "all"):
                self.refuse(fields["tags"], f"tags: {words['tags']!r}; accepted: pii, all, or a list of keys")
        if not words:
            self.refuse(node, "mask: expected numbers, agents or tags, for example {numbers: last4, tags: pii}")
        return Mask(**words)

    def _form(self, node: Node | None) -> ProductionForm:
        prefix = prefix_of(self.path.stem)
        if node is None:
            return ProductionForm(prefix)
        words = {
            "date_form": tuple(DATE_FORMS),
            "fields": ("default", "sec"),
            "certificate": ("us", "neutral"),
            "listening": ("none", "wav", "mp3"),
            "conversations": ("none", "as_received"),
        }
        numbers = {"digits": (4, 12), "volume_recordings": (1, 100_000)}
        form: dict[str, Any] = {"prefix": prefix}
        for name, value in self.fields(node, "production", {"prefix", *numbers, *words}).items():
            if name in words:
                form[name] = self._word(value, name, words[name])
            elif name in numbers:
                form[name] = self._number(value, name, *numbers[name])
            else:
                form[name] = self.text(value, name)
                if not _PREFIX.fullmatch(form[name]):
                    self.refuse(value, "prefix: expected capitals, digits, _ and -, at most 16, a letter first")
        return ProductionForm(**form)

    def _word(self, node: Node, what: str, accepted: tuple[str, ...]) -> str:
        text = self.text(node, what)
        if text not in accepted:
            self.refuse(node, f"{what}: {text!r}; accepted: {', '.join(accepted)}")
        return text

    def _number(self, node: Node, what: str, low: int, high: int) -> int:
        text = self.text(node, what)
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            self.refuse(node, f"{what}: expected a number from {low} to {high:,}")
        return int(text)


def prefix_of(name: str) -> str:
    """The prefix of control numbers for a matter of this name, unless its file names another one."""
    return re.sub(r"[^A-Z0-9]", "", name.upper())[:16].lstrip("0123456789") or "PROD"


TEMPLATE = """\
# A matter. Every line is explained in docs/matters.md; `custody matter show {name}` checks it.
version: 1
title: {title}
number: {number}
custodian: {custodian}            # whose recordings these are
requesting_party: {requesting_party}
producing_party: {producing_party}
request: ""              # the request's own words
authorised: []           # who may act for this matter: ["Jane Roe, counsel"]
timezone: UTC            # of the dates below and of the index, for example America/New_York

# Every condition that is given must hold, and one value of each list.
select:
{select}

# Found, and not produced. Reasons: privilege, not_responsive, other (with a note).
# exclude:
#   - {{ids: {{file: privileged.txt}}, reason: privilege}}

# Withheld in tables and records:
# mask: {{numbers: last4, agents: withheld, tags: pii}}

production:
  prefix: {prefix}       # of control numbers
"""
