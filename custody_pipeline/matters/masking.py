"""The part of a record and of its custody events that is produced.

Belongs here: the fields withheld, by the matter file or because they belong to another matter, and their replacement.
Does not: the package with the other columns (evidence/package).

From a hash of a whole row or document, a withheld field could be guessed. Such hashes are therefore withheld too.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import chain

from custody_pipeline.evidence.package.layout import Masked
from custody_pipeline.matters.matter import Mask, bare_number
from custody_pipeline.models.mapping import TagMapping, plain, without_prefix
from custody_pipeline.models.mapping_file import is_tag_column

Row = dict[str, str | None]

WITHHELD = "[withheld]"
LISTENING_COPY = "listening copy, derived"
_OF_A_MATTER = ("held", "released", "packaged")
_NUMBERS, _AGENTS = ("ani", "dnis"), ("user_ids", "agent_names")
_HASHES = ("row_sha256", "conversation_sha256", "recording_metadata_sha256", "sidecar_sha256")
_SHOWN_DIGITS = 4
_END_DIGITS = 7
"""A tag with as many last digits of a withheld number repeats it."""


@dataclass(frozen=True)
class Shown:
    """A record as it is produced. `row`: for tables, with a word for each withheld value; `record`: for the package."""

    row: Row
    record: Masked


def shown(mask: Mask, mapping: TagMapping, row: Mapping[str, str | None]) -> Shown | None:
    """The shown part of a sealed row; None if nothing of it is withheld."""
    replaced: Row = {}
    if mask.numbers != "shown":
        replaced |= {name: _number(mask, row[name]) for name in _NUMBERS if row.get(name)}
    if mask.agents == "withheld" and json.loads(row.get("user_ids") or "[]"):
        replaced |= {name: json.dumps([WITHHELD]) for name in _AGENTS if row.get(name)}
    tags = _tags(mask, mapping, row, _Repeated.of(row, replaced))
    if not replaced and not tags:
        return None
    replaced |= tags
    replaced |= {name: None for name in _HASHES if row.get(name)}
    return Shown(
        {**row, **replaced},
        Masked({name: value for name, value in row.items() if name not in replaced}, tuple(sorted(replaced))),
    )


@dataclass(frozen=True)
class _Repeated:
    """Withheld numbers and agents as a tag may repeat them: the ends of numbers; a pattern of ids and names."""

    ends: frozenset[str]
    words: re.Pattern[str] | None

    @classmethod
    def of(cls, row: Mapping[str, str | None], withheld: Iterable[str]) -> _Repeated:
        numbers = [_digits(row[name]) for name in _NUMBERS if name in withheld]
        agents = [json.loads(row[name] or "[]") for name in _AGENTS if name in withheld]
        words = [rf"(?<!\w){re.escape(_composed(word))}(?!\w)" for word in filter(None, chain.from_iterable(agents))]
        return cls(
            frozenset(number[-_END_DIGITS:] for number in numbers if len(number) >= _END_DIGITS),
            re.compile("|".join(words), re.IGNORECASE) if words else None,
        )

    def is_in(self, value: object) -> bool:
        text = _composed(str(value))
        digits = re.sub(r"\D", "", text)
        return any(end in digits for end in self.ends) or bool(self.words and self.words.search(text))


def _tags(mask: Mask, mapping: TagMapping, row: Mapping[str, str | None], repeated: _Repeated) -> Row:
    """Columns with a tag that is withheld or repeats a withheld value; and the JSON object of all tags."""
    known = {tag.output_column: tag for tag in mapping.columns}
    marked = {name for tag in mapping.columns if tag.pii for name in tag.names}
    # The mapping knows a part of a tag that it reads by a path.
    harmless = {name for tag in mapping.columns if tag.path is None for name in tag.names} - marked
    wanted = _wanted(mask, mapping)

    def is_out(value: object, keys: Iterable[str], *, is_pii: bool) -> bool:
        if isinstance(mask.tags, tuple):
            return not wanted.isdisjoint(map(plain, keys)) or repeated.is_in(value)
        return mask.tags == "all" or (mask.tags == "pii" and is_pii) or repeated.is_in(value)

    found: Row = {}
    for name, value in row.items():
        if not is_tag_column(name) or value is None:
            continue
        tag = known.get(name)
        # None: a column of an earlier mapping, so its tag is unknown.
        is_unknown = tag is None and mask.tags is not None
        if is_unknown or is_out(value, tag.names if tag else (), is_pii=tag is not None and tag.pii):
            found[name] = WITHHELD
    tags = json.loads(row.get("custom_data") or "{}")
    left = {
        key: WITHHELD if is_out(value, [key, without_prefix(key)], is_pii=key not in harmless) else value
        for key, value in tags.items()
    }
    if left != tags:
        found["custom_data"] = json.dumps(left, ensure_ascii=False)
    return found


def _wanted(mask: Mask, mapping: TagMapping) -> set[str]:
    """The listed keys, without case and dashes, and every key of a tag that the list names by a key or its column."""
    listed = {plain(key) for key in mask.tags} if isinstance(mask.tags, tuple) else set()
    named = (tag for tag in mapping.columns if not listed.isdisjoint(map(plain, (tag.column, *tag.names))))
    return listed | {plain(name) for tag in named for name in tag.names}


def unknown_keys(mask: Mask, mapping: TagMapping, seen: Iterable[str]) -> tuple[str, ...]:
    """Listed keys that neither a tag of the collected nights (`seen`) nor the mapping has."""
    known = {plain(form) for key in seen for form in (key, without_prefix(key))}
    known |= {plain(name) for tag in mapping.columns for name in (tag.column, *tag.names)}
    return tuple(key for key in mask.tags or () if plain(key) not in known) if isinstance(mask.tags, tuple) else ()


def _composed(text: str) -> str:
    """A text with its accented letters written in one way."""
    return unicodedata.normalize("NFC", text)


def _number(mask: Mask, number: str | None) -> str:
    digits = _digits(number)
    # The last digits of a short number would reveal too much of it.
    return f"[…{digits[-_SHOWN_DIGITS:]}]" if mask.numbers == "last4" and len(digits) > 2 * _SHOWN_DIGITS else WITHHELD


def _digits(number: str | None) -> str:
    return re.sub(r"\D", "", bare_number(number or ""))


def of_one_matter(events: list[dict[str, object]], why: str, volumes: Set[str | None]) -> list[dict[str, object]]:
    """Custody events of a volume, without what holds and packages of other matters say.

    Args:
        why: `Matter.why`; two requests in one case may have the same.
        volumes: the digests of the matter's volumes. What was packaged as another one is of another matter.
    """

    def is_own(event: dict[str, object]) -> bool:
        reason = str(event["why"])
        is_so_called = reason == why or reason.startswith(f"{why}, VOL")
        if event["action"] == "packaged" and event["what"] != LISTENING_COPY:
            return is_so_called and not volumes.isdisjoint((event["sha256_before"], event["sha256_after"]))
        return is_so_called or event["action"] not in _OF_A_MATTER

    gone = dict.fromkeys(("where_at", "sha256_before", "sha256_after"))
    elsewhere = {"what": "for another matter or request", "why": WITHHELD, "how": WITHHELD, **gone}
    return [event if is_own(event) else {**event, **elsewhere} for event in events]


def masked_events(events: list[dict[str, object]], controls: set[str]) -> list[dict[str, object]]:
    """Custody events of a volume, without the hashes by which a withheld field could be guessed."""
    return [
        event
        if event["control_number"] not in controls or event["what"] == "media" or event["action"] == "packaged"
        else {**event, "sha256_before": None, "sha256_after": None}
        for event in events
    ]
