"""The types of a matter.

Belongs here: the values of a matter file, as types. Does not: reading the file (matter_file.py), the rows that a
selection finds (selection.py).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from custody_pipeline.matters.id_list import IdList

EXCLUSION_REASONS = ("privilege", "not_responsive", "other")
MEDIA_KINDS = ("call", "callback", "chat", "email", "message", "screen")
DATE_FORMS = {"YYYY-MM-DD": "%Y-%m-%d", "MM/DD/YYYY": "%m/%d/%Y", "DD/MM/YYYY": "%d/%m/%Y", "YYYYMMDD": "%Y%m%d"}

_FEWEST_DIGITS = 3
_UTC = ZoneInfo("UTC")


def bare_number(number: str) -> str:
    """A number without a scheme, a domain and parameters: `+1 555 010 0123` of `tel:+1 555 010 0123;ext=7`."""
    return re.sub(r"^[a-zA-Z]+:", "", re.split("[@;]", number, maxsplit=1)[0]).strip()


def digits_of(number: str) -> str:
    """The digits by which a number is compared, without leading zeros; empty if it is no number."""
    bare = bare_number(number)
    digits = re.sub("[^0-9]", "", bare.replace("(0)", ""))
    return digits.lstrip("0") if len(digits) >= _FEWEST_DIGITS and not re.search("[a-zA-Z]", bare) else ""


@dataclass(frozen=True)
class TagCondition:
    """A condition on one tag. `value` is None for `is set` and `is missing`."""

    key: str
    how: Literal["=", "!=", "is set", "is missing"]
    value: str | None = None

    def __str__(self) -> str:
        return f"{self.key} {self.how}" + ("" if self.value is None else f" {self.value}")


@dataclass(frozen=True)
class Selection:
    """The selection of a matter: every given condition must hold; of a list, one value must match.

    Attributes:
        ids: of conversations or recordings; None when not given.
        first: first local day, in the matter's time zone.
        agents: user ids, names or e-mail addresses.
        numbers: of the caller or the called, as written.
        tags: all of them must hold.
        where: a SQL condition over custody.chain_of_custody.
    """

    ids: IdList | None = None
    first: date | None = None
    last: date | None = None
    agents: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    divisions: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    tags: tuple[TagCondition, ...] = ()
    media: tuple[str, ...] = ()
    where: str | None = None

    @property
    def asks_for_documents(self) -> bool:
        """Whether a condition is about what only the documents of a conversation tell."""
        return any((self.agents, self.queues, self.divisions, self.numbers, self.tags, self.where))


@dataclass(frozen=True)
class Exclusion:
    """Recordings that the selection finds and that are not produced. `reason`: one of `EXCLUSION_REASONS`."""

    ids: IdList
    reason: str
    note: str


@dataclass(frozen=True)
class Mask:
    """The fields that are withheld.

    Attributes:
        numbers: of caller and called; `last4` shows four digits in the tables, and no more in the records.
        tags: `pii`: those that the mapping marks, and those that it does not know; `all`; or keys.
    """

    numbers: Literal["shown", "last4", "withheld"] = "shown"
    agents: Literal["shown", "withheld"] = "shown"
    tags: tuple[str, ...] | Literal["pii", "all"] | None = None


@dataclass(frozen=True)
class ProductionForm:
    """The form of a matter's productions.

    Attributes:
        volume_recordings: maximum number of recordings in a volume. Their list is in memory.
        date_form: of dates in the load file; a key of `DATE_FORMS`.
        fields: of index and load file: `default`, or `sec`: the SEC's names for audio of telephone recording systems.
        certificate: `us`: FRE 902(13), 902(14) and 28 U.S.C. 1746; `neutral`: the facts alone, for other jurisdictions.
        listening: `wav` or `mp3`: derived copies that play everywhere.
        conversations: `as_received`: the conversation's document beside each recording.
    """

    prefix: str = "ID"
    digits: int = 6
    volume_recordings: int = 2_000
    date_form: str = "YYYY-MM-DD"
    fields: str = "default"
    certificate: str = "us"
    listening: str = "none"
    conversations: str = "none"


@dataclass(frozen=True)
class Matter:
    """A matter, from its file; a selection without a file has a name alone. `sha256`: of the file's bytes."""

    name: str
    path: Path
    selection: Selection
    sha256: str = ""
    title: str = ""
    number: str = ""
    custodian: str = ""
    requesting_party: str = ""
    producing_party: str = ""
    request: str = ""
    authorised: tuple[str, ...] = ()
    zone: ZoneInfo = _UTC
    exclusions: tuple[Exclusion, ...] = ()
    form: ProductionForm = field(default_factory=ProductionForm)
    mask: Mask | None = None

    @property
    def lists(self) -> list[tuple[str, IdList]]:
        """The files of ids that the matter names: `selected` or `excluded`, and the list."""
        asked = self.selection.ids
        named = [("selected", asked)] if asked else []
        named += [("excluded", exclusion.ids) for exclusion in self.exclusions]
        return [(what, ids) for what, ids in named if ids.source]

    @property
    def state_sha256(self) -> str:
        """Changes with the matter file and with every list that it names."""
        return hashlib.sha256("".join([self.sha256, *(ids.sha256 for _, ids in self.lists)]).encode()).hexdigest()

    @property
    def why(self) -> str:
        """The reason in the custody events of the matter's acts."""
        return f"matter {self.number or self.name}: {self.title}"

    def window(self) -> tuple[datetime | None, datetime | None]:
        """The selection's dates as UTC times without a zone: from, and before."""

        def midnight(day: date) -> datetime:
            return datetime.combine(day, time(), self.zone).astimezone(UTC).replace(tzinfo=None)

        first, last = self.selection.first, self.selection.last
        begin = midnight(first) if first else None
        return begin, midnight(last + timedelta(days=1)) if last else None

    def nights(self) -> list[date]:
        """Every night in which a conversation of the dates may have started; none where an end is open."""
        begin, end = self.window()
        if begin is None or end is None:
            return []
        last = (end - timedelta(microseconds=1)).date()
        return [begin.date() + timedelta(days=number) for number in range((last - begin.date()).days + 1)]
