"""The retention policy (YAML): how long conversations are kept. Each refusal names file, line and accepted form.

Belongs here: the form of the file. Does not: which conversations its rules select, and until when they are kept
(choices.py), places with their own times (keeping.py).
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from yaml.nodes import Node, SequenceNode

from custody_pipeline.matters.matter import Selection
from custody_pipeline.matters.matter_file import MatterReader

_KEEP = re.compile(r"([1-9][0-9]{0,4}) (day|month|year)s?")
PLACES = ("landing", "captures", "documents", "snapshot", "spool", "packages")
"""Places that may have their own time, besides the conversations: the names of a rule's fields.

`documents`: until the key of the night is forgotten, which opens its landing files and captures.
"""
_KEEP_FORM = "expected a number and days, months or years, for example '7 years' or '90 days'"
_CONDITIONS = {"agents", "queues", "divisions", "numbers", "tags", "media", "where"}
_LONGEST_WARNING = 3_650


@dataclass(frozen=True)
class Keep:
    """A time: a number of days, months or years."""

    number: int
    unit: str

    def after(self, day: date) -> date:
        """The first day on which data of `day` are due: the time is over for its last second, too.

        If a month lacks the day, its last day counts.
        """
        if self.unit == "day":
            return day + timedelta(days=self.number + 1)
        months = day.month - 1 + self.number * (12 if self.unit == "year" else 1)
        year, month = day.year + months // 12, months % 12 + 1
        if year >= date.max.year:
            return date.max
        return date(year, month, min(day.day, calendar.monthrange(year, month)[1])) + timedelta(days=1)

    def __str__(self) -> str:
        return f"{self.number} {self.unit}{'s' * (self.number != 1)}"


@dataclass(frozen=True)
class Rule:
    """Which conversations are kept for how long; with an empty selection, all of them.

    Attributes:
        keep: of the conversation; None for a rule only about places.
        places: of `PLACES` → how long they keep data of the conversation.
    """

    name: str
    keep: Keep | None
    selection: Selection
    places: Mapping[str, Keep]


@dataclass(frozen=True)
class Policy:
    """A retention policy.

    Attributes:
        sha256: of its bytes, hex.
        authority: by which schedule or law, for the statements.
        warn_days: `custody status` warns so many days before something is due.
    """

    path: Path
    sha256: str
    authority: str
    reason: str
    warn_days: int
    rules: tuple[Rule, ...]


def load_policy(path: Path) -> Policy:
    """Read and validate a policy.

    Raises:
        RefusedFileError: with the file, the line and the accepted form.
    """
    return _Reader(path).policy()


class _Reader(MatterReader):
    what = "a retention policy"
    expected = "'version: 1', 'authority:' and 'rules:'"
    hint = "set CUSTODY_RETENTION_PATH to a file that can be read"

    def policy(self) -> Policy:
        sha256, fields = self.document("the policy", {"authority": "", "rules": ""}, {"reason", "warn_days"})
        rules = fields["rules"]
        if not isinstance(rules, SequenceNode) or not rules.value:
            self.refuse(rules, "rules: expected a list of {name, keep, select}")
        found = tuple(self._rule(item) for item in rules.value)
        names = [rule.name for rule in found]
        for name, item in zip(names, rules.value, strict=True):
            if names.count(name) > 1:
                self.refuse(item, f"rules: {name!r} is there twice; give each rule a name of its own")
        return Policy(
            path=self.path,
            sha256=sha256,
            authority=self.text(fields["authority"], "authority"),
            reason=self.text(fields["reason"], "reason") if "reason" in fields else "end of the retention period",
            warn_days=self._days(fields["warn_days"]) if "warn_days" in fields else 30,
            rules=found,
        )

    def _rule(self, node: Node) -> Rule:
        fields = self.fields(node, "a rule", {"name", "keep", "select", *PLACES})
        if "name" not in fields:
            self.refuse(node, "a rule: expected 'name:'")
        times = {name: self._time(fields[name], name) for name in ("keep", *PLACES) if name in fields}
        if not times:
            self.refuse(node, f"a rule: expected 'keep:', or one of {', '.join(PLACES)}")
        selection = Selection()
        if "select" in fields:
            self.fields(fields["select"], "select", _CONDITIONS)
            selection = self.selection(fields["select"])
        return Rule(self.text(fields["name"], "name"), times.pop("keep", None), selection, times)

    def _time(self, node: Node, what: str) -> Keep:
        text = self.text(node, what)
        found = _KEEP.fullmatch(text)
        if found is None:
            self.refuse(node, f"{what}: {text!r}; {_KEEP_FORM}")
        return Keep(int(found[1]), found[2])

    def _days(self, node: Node) -> int:
        text = self.text(node, "warn_days")
        if not text.isdecimal() or not 0 <= int(text) <= _LONGEST_WARNING:
            self.refuse(node, f"warn_days: {text!r}; expected a number of days from 0 to {_LONGEST_WARNING:,}")
        return int(text)
