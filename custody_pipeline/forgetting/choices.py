"""The conversations that the rules of a retention policy select, and from which day each is no longer kept.

Belongs here: asking the warehouse, and applying the rules. Does not: the form of the policy (policy.py), what is done
about it (due.py), places with their own times (keeping.py).

The rule that keeps a conversation longest counts. A conversation that no rule selects is kept. A rule that may select a
conversation keeps it as if it did: none of its documents could be read; the rule names an agent, a queue or a division,
and the conversation has one whose name is not known; or nothing tells the kind of one of its recordings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial

import duckdb

from custody_pipeline.fleet.overview import analyst_database
from custody_pipeline.forgetting.policy import Policy
from custody_pipeline.forgetting.warehouse_rows import readable
from custody_pipeline.matters.matter import Matter, Selection
from custody_pipeline.matters.selection import latest_nights
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.snapshot import nights_left_out
from custody_pipeline.warehouse.sql_files import query

_Opened = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


@dataclass(frozen=True, order=True)
class Due:
    """A conversation and the day from which it is no longer kept."""

    day: date
    night: date
    conversation_id: str
    rule: str


@dataclass(frozen=True)
class Choices:
    """The conversations that the rules select.

    Attributes:
        policy: has the rules.
        nights: conversation → its nights. No mapping here has erased conversations.
        chosen: conversation → position of each rule that selects it → the latest night of a recording that does.
        perhaps: the same with the rules that may select it.
    """

    policy: Policy
    nights: dict[str, set[date]]
    chosen: dict[str, dict[int, date]]
    perhaps: dict[str, dict[int, date]]

    def due(self) -> list[Due]:
        """Every conversation that some rule keeps for a time, with the day on which that ends, soonest first."""
        return sorted(found for name in self.chosen if (found := self._due(name)))

    def selected(self) -> tuple[int, ...]:
        """The number of conversations that each rule selects."""
        counts = Counter(number for numbers in self.chosen.values() for number in numbers)
        return tuple(counts[number] for number in range(len(self.policy.rules)))

    def _due(self, conversation_id: str) -> Due | None:
        ends = [
            (rule.keep.after(night), night, rule.name)
            for number, night in self.chosen[conversation_id].items()
            if (rule := self.policy.rules[number]).keep
        ]
        if not ends:
            return None
        day, night, name = max(ends, key=lambda end: end[0])
        for number, latest in self.perhaps.get(conversation_id, {}).items():
            rule = self.policy.rules[number]
            if rule.keep and day < (until := rule.keep.after(latest)):
                day, name = until, f"{rule.name} (not known)"
        return Due(day, night, conversation_id, name)

    def by_night(self) -> dict[date, frozenset[str]]:
        """The conversations of each night, in lower case."""
        found: dict[date, set[str]] = {}
        for name, nights in self.nights.items():
            for night in nights:
                found.setdefault(night, set()).add(name.lower())
        return {night: frozenset(names) for night, names in found.items()}

    def end(self, place: str, conversations: Iterable[str], start: date) -> tuple[date, str] | None:
        """When a place no longer keeps something that began on `start`, and by which rule.

        Args:
            place: of `PLACES`.
            conversations: those whose data it has, in lower case. Without any, only rules without a selection count.
            start: the night, or the day on which it was made.

        Returns:
            None if it has no time of its own: for one of the conversations no rule names the place.
        """
        ends = [self._end(place, name, start) for name in conversations] or [self._end(place, None, start)]
        return max(known) if (known := [end for end in ends if end]) and len(known) == len(ends) else None

    def _end(self, place: str, conversation_id: str | None, start: date) -> tuple[date, str] | None:
        original = self._as_written.get(conversation_id) if conversation_id else None
        if original is None:
            rules = [rule for rule in self.policy.rules if rule.selection == Selection()]
        else:
            numbers = self.chosen.get(original, {}).keys() | self.perhaps.get(original, {}).keys()
            rules = [self.policy.rules[number] for number in numbers]
        return max(
            ((rule.places[place].after(start), rule.name) for rule in rules if place in rule.places), default=None
        )

    @cached_property
    def _as_written(self) -> dict[str, str]:
        return {name.lower(): name for name in self.nights}


def due(settings: Settings, policy: Policy) -> list[Due]:
    """Every conversation that some rule selects and that is not erased yet, with its day, soonest first.

    Raises:
        SettingsError: there is no snapshot yet, or a rule's `where` is refused.
    """
    return choices_of(settings, policy).due()


def choices_of(settings: Settings, policy: Policy) -> Choices:
    """The conversations of every night that the rules select. Raises as `due`."""
    opened: list[_Opened] = [partial(analyst_database, settings)]
    if left_out := nights_left_out(settings):
        with Warehouse(settings).open(read_only=True) as con:
            return _choices(policy, [*opened, *(partial(_of_night, con, night) for night in sorted(left_out))])
    return _choices(policy, opened)


def _of_night(con: duckdb.DuckDBPyConnection, night: date) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    return closing(readable(con, night))


def deadlines_of_night(con: duckdb.DuckDBPyConnection, policy: Policy, night: date) -> list[str]:
    """Until when conversations of a night are kept, a sentence each, soonest first. `con`: the warehouse."""
    found = _choices(policy, [partial(_of_night, con, night)]).due()
    return [
        f"{number} conversation{'s' * (number != 1)} of {night} until {day} ({rule})"
        for day, rule, number in by_day(found)
    ]


def _choices(policy: Policy, sources: Iterable[_Opened]) -> Choices:
    """`sources` give a new connection each time: a selection denies its connection external access."""
    found = Choices(policy, {}, {}, {})
    for opened in sources:
        with opened() as con:
            for name, night in con.execute(query("forgetting/conversations")).fetchall():
                found.nights.setdefault(name, set()).add(night)
        for number, rule in enumerate(policy.rules):
            matter = Matter(rule.name, policy.path, rule.selection)
            for chosen, or_unknown in ((found.chosen, False), (found.perhaps, True)):
                with opened() as con:
                    latest = latest_nights(con, matter, or_unknown=or_unknown)
                for name in latest.keys() & found.nights.keys():
                    nights = chosen.setdefault(name, {})
                    nights[number] = max(latest[name], nights.get(number, latest[name]))
    return found


def by_day(items: Iterable[Due]) -> list[tuple[date, str, int]]:
    """Day, rule and number of conversations, soonest first."""
    counts = Counter((item.day, item.rule) for item in items)
    return [(day, rule, number) for (day, rule), number in sorted(counts.items())]
