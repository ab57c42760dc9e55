"""The retention policy (YAML): how long conversations are kept. Each refusal names file, line and accepted form.

Belongs here: the form of the file, and which conversations are due. Does not: erasing them (erase.py).

The rule that keeps a conversation longest counts for it. A conversation that no rule selects is kept. Where none of its
documents could be read, nobody knows its tags, numbers, queues and agents: a rule that asks for them may select it, and
keeps it as if it did.
"""

from __future__ import annotations

import calendar
import re
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

from yaml.nodes import Node, SequenceNode

from custody_pipeline.forgetting.readable import readable
from custody_pipeline.matters.id_list import IdList
from custody_pipeline.matters.matter import Matter, Selection
from custody_pipeline.matters.matter_file import MatterError, MatterReader
from custody_pipeline.matters.selection import select
from custody_pipeline.operations.explain import analyst_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    import duckdb

    from custody_pipeline.settings import Settings

_KEEP = re.compile(r"([1-9][0-9]{0,4}) (day|month|year)s?")
_KEEP_FORM = "expected a number and days, months or years, for example '7 years' or '90 days'"
_CONDITIONS = {"agents", "queues", "numbers", "tags", "media", "where"}
_LONGEST_WARNING = 3_650
_UNREAD = """
SELECT conversation_id, max(partition_date)
FROM custody.chain_of_custody
WHERE custom_data_state = 'unavailable'
GROUP BY conversation_id
"""


class PolicyError(MatterError):
    """The retention policy is refused."""


@dataclass(frozen=True)
class Keep:
    """How long: a number of days, months or years."""

    number: int
    unit: str

    def after(self, day: date) -> date:
        """The first day on which something of `day` is due. A month's last day stands for days that it lacks."""
        if self.unit == "day":
            return day + timedelta(days=self.number)
        months = day.month - 1 + self.number * (12 if self.unit == "year" else 1)
        year, month = day.year + months // 12, months % 12 + 1
        if year > date.max.year:
            return date.max
        return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))

    def __str__(self) -> str:
        return f"{self.number} {self.unit}{'s' * (self.number != 1)}"


@dataclass(frozen=True)
class Rule:
    """Which conversations are kept for how long; all of them with an empty selection."""

    name: str
    keep: Keep
    selection: Selection


@dataclass(frozen=True)
class Policy:
    """A retention policy.

    Attributes:
        path: of its file.
        sha256: of its bytes, hex.
        authority: by which schedule or law, for the statements.
        reason: for the statements.
        warn_days: so many days before something is due, `custody status` tells.
    """

    path: Path
    sha256: str
    authority: str
    reason: str
    warn_days: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True, order=True)
class Due:
    """A conversation and the day from which on it is not kept any more."""

    day: date
    night: date
    conversation_id: str
    rule: str


def load_policy(path: Path) -> Policy:
    """Read and validate a policy.

    Raises:
        RefusedFileError: with the file, the line and the accepted form.
    """
    return _Reader(path).policy()


class _Reader(MatterReader):
    refusal = PolicyError
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
        fields = self.fields(node, "a rule", {"name", "keep", "select"})
        for name in ("name", "keep"):
            if name not in fields:
                self.refuse(node, f"a rule: expected '{name}:'")
        text = self.text(fields["keep"], "keep")
        found = _KEEP.fullmatch(text)
        if found is None:
            self.refuse(fields["keep"], f"keep: {text!r}; {_KEEP_FORM}")
        selection = Selection()
        if "select" in fields:
            self.fields(fields["select"], "select", _CONDITIONS)
            selection = self.selection(fields["select"])
        return Rule(self.text(fields["name"], "name"), Keep(int(found[1]), found[2]), selection)

    def _days(self, node: Node) -> int:
        text = self.text(node, "warn_days")
        if not text.isdecimal() or not 0 <= int(text) <= _LONGEST_WARNING:
            self.refuse(node, f"warn_days: {text!r}; expected a number of days from 0 to {_LONGEST_WARNING:,}")
        return int(text)


def due(settings: Settings, policy: Policy) -> list[Due]:
    """Every conversation that some rule selects and that is not erased yet, with its day, soonest first.

    Raises:
        SettingsError: there is no snapshot yet, or a rule's `where` is refused.
    """
    return _due(policy, partial(analyst_database, settings))


def deadlines_of_night(con: duckdb.DuckDBPyConnection, policy: Policy, night: date) -> list[str]:
    """When which conversations of a night are no longer kept, a sentence each, soonest first. `con`: the warehouse."""
    return [
        f"{number} conversation{'s' * (number != 1)} of {night} until {day} ({rule})"
        for day, rule, number in by_day(_due(policy, lambda: closing(readable(con, night))))
    ]


def _due(policy: Policy, opened: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]) -> list[Due]:
    """`opened` gives a new connection: a selection closes its own against the outside."""
    latest: dict[str, Due] = {}
    with opened() as con:
        unread: dict[str, date] = dict(con.execute(_UNREAD).fetchall())
    for rule in policy.rules:
        with opened() as con:
            matter = replace(Matter.of_ids(IdList(())), name=rule.name, path=policy.path, selection=rule.selection)
            for found in select(con, matter).recordings:
                name = found.conversation_id
                if not name or "ERASED" in found.reasons:
                    continue
                item = Due(rule.keep.after(found.night), found.night, name, rule.name)
                if name not in latest or latest[name].day < item.day:
                    latest[name] = item
    for item in list(latest.values()):
        for rule in policy.rules if item.conversation_id in unread else ():
            day = rule.keep.after(unread[item.conversation_id])
            if _asks_for_documents(rule.selection) and latest[item.conversation_id].day < day:
                latest[item.conversation_id] = replace(item, day=day, rule=f"{rule.name} (not known)")
    return sorted(latest.values())


def _asks_for_documents(selection: Selection) -> bool:
    return bool(selection.agents or selection.queues or selection.numbers or selection.tags or selection.where)


def by_day(items: Iterable[Due]) -> list[tuple[date, str, int]]:
    """Day, rule and number of conversations, soonest first."""
    counts: dict[tuple[date, str], int] = {}
    for item in items:
        counts[item.day, item.rule] = counts.get((item.day, item.rule), 0) + 1
    return [(day, rule, number) for (day, rule), number in sorted(counts.items())]
