"""The conversations that the rules of a retention policy select, and from which day each is no longer kept.

Belongs here: asking the warehouse, and applying the rules. Does not: the form of the policy (policy.py), what is done
about it (due.py), places with their own times (keeping.py).

The rule that keeps a conversation longest counts. A conversation that no rule selects is kept. If none of its documents
could be read, its tags, numbers, queues and agents are unknown. A rule that asks for these may select it, and keeps it
as if it did. So does a rule that names an agent, a queue or a division, if the conversation has one whose name is not
known, and a rule that asks for a kind of media, if nothing tells the kind of one of its recordings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial

import duckdb

from custody_pipeline.extract.export_keys import is_conversation_id
from custody_pipeline.fleet.overview import analyst_database
from custody_pipeline.forgetting.policy import Policy, Rule
from custody_pipeline.forgetting.warehouse_rows import readable
from custody_pipeline.matters.matter import Matter, Selection
from custody_pipeline.matters.selection import select
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.snapshot import nights_left_out
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import table_columns

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
        unread: conversation → the latest night in which none of its documents could be read.
        undivided: conversation → its latest night, if no document names its division.
        unnamed: `agents`, `queues` or `divisions` → conversation with one that has no known name → its latest night.
        kindless: as `chosen`, of recordings of which nothing tells whether they are of the rule's kind of media.
    """

    policy: Policy
    nights: dict[str, set[date]]
    chosen: dict[str, dict[int, date]]
    unread: dict[str, date]
    undivided: dict[str, date]
    unnamed: dict[str, dict[str, date]]
    kindless: dict[str, dict[int, date]]

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
        for rule, latest in self._perhaps(conversation_id):
            if rule.keep and day < (until := rule.keep.after(latest)):
                day, name = until, f"{rule.name} (not known)"
        return Due(day, night, conversation_id, name)

    def _perhaps(self, conversation_id: str) -> Iterator[tuple[Rule, date]]:
        """Rules that may select the conversation, because they ask for unknown values; and its latest night."""
        for number, rule in enumerate(self.policy.rules):
            wanted = rule.selection
            unknown = [self.unread] if wanted.asks_for_documents else []
            unknown += [self.undivided] if wanted.divisions else []
            unknown += [
                nights
                for kind, nights in self.unnamed.items()
                if not all(map(is_conversation_id, getattr(wanted, kind)))
            ]
            latest = [night for nights in unknown if (night := nights.get(conversation_id))]
            if (night := self.kindless.get(conversation_id, {}).get(number)) is not None:
                latest.append(night)
            if latest:
                yield rule, max(latest)

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
            numbers = self.chosen.get(original, {})
            rules = [self.policy.rules[number] for number in numbers]
            rules += [rule for rule, _ in self._perhaps(original)]
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
    found = Choices(policy, {}, {}, {}, {}, {}, {})
    for opened in sources:
        latest: dict[str, date] = {}
        with opened() as con:
            for name, night in con.execute(query("forgetting/conversations")).fetchall():
                found.nights.setdefault(name, set()).add(night)
                latest[name] = max(night, latest.get(name, night))
            found.unread.update(con.execute(query("forgetting/unread")).fetchall())
            divided = "SELECT DISTINCT conversation_id FROM custody.divisions"
            told = set(con.execute(divided).fetchall()) if table_columns(con, "custody.divisions") else set()
            unnamed = {
                "agents": query("forgetting/unnamed_agents"),
                "queues": query("forgetting/unnamed_queues"),
                "divisions": query("forgetting/unnamed_divisions"),
            }
            for kind, sql in unnamed.items():
                named = any(getattr(rule.selection, kind) for rule in policy.rules)
                if named and (kind == "queues" or table_columns(con, f"custody.{kind}")):
                    found.unnamed.setdefault(kind, {}).update(con.execute(sql).fetchall())
            found.undivided.update({name: night for name, night in latest.items() if (name,) not in told})
        for number, rule in enumerate(policy.rules):
            # What may be of the kind of a rule is kept by it, and not erased.
            for chosen, unknown in ((found.chosen, False), *([(found.kindless, True)] if rule.selection.media else [])):
                with opened() as con:
                    _add_chosen(con, found, number, chosen, unknown)
    return found


def _add_chosen(
    con: duckdb.DuckDBPyConnection, found: Choices, number: int, chosen: dict[str, dict[int, date]], unknown: bool
) -> None:
    """Add the conversations that a rule selects to `chosen`. `unknown`: also those of an unknown kind of media."""
    rule = found.policy.rules[number]
    for item in select(con, Matter(rule.name, found.policy.path, rule.selection), unknown_kinds=unknown).recordings:
        if item.conversation_id in found.nights:
            latest = chosen.setdefault(item.conversation_id, {})
            latest[number] = max(item.night, latest.get(number, item.night))


def by_day(items: Iterable[Due]) -> list[tuple[date, str, int]]:
    """Day, rule and number of conversations, soonest first."""
    counts = Counter((item.day, item.rule) for item in items)
    return [(day, rule, number) for (day, rule), number in sorted(counts.items())]
