"""The part of a record that is produced if the matter file withholds fields.

Belongs here: which columns are withheld, and what replaces them. Does not: the package with the other columns
(evidence/package).

From a hash of a whole row or document, a withheld field could be guessed. Such hashes are therefore withheld too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from custody_pipeline.evidence.package.layout import Masked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from custody_pipeline.matters.matter import Mask
    from custody_pipeline.models.mapping import TagMapping

Row = dict[str, str | None]

WITHHELD = "[withheld]"
_NUMBERS = ("ani", "dnis")
_HASHES = ("row_sha256", "conversation_sha256", "recording_metadata_sha256", "sidecar_sha256")
_SHOWN_DIGITS = 4


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
        replaced |= {name: json.dumps([WITHHELD]) for name in ("user_ids", "agent_names") if row.get(name)}
    tags = _tags(mask, mapping, row)
    if not replaced and not tags:
        return None
    replaced |= tags
    replaced |= {name: None for name in _HASHES if row.get(name)}
    return Shown(
        {**row, **replaced},
        Masked({name: value for name, value in row.items() if name not in replaced}, tuple(sorted(replaced))),
    )


def _tags(mask: Mask, mapping: TagMapping, row: Mapping[str, str | None]) -> Row:
    """Columns with a tag that is withheld: the mapped ones, and the object of all tags."""
    if mask.tags is None:
        return {}
    hidden = {tag.output_column for tag in mapping.columns if _is_hidden(mask, tag.pii, tag.names)}
    found: Row = {name: WITHHELD for name in hidden if row.get(name) is not None}
    shown_keys = {name for tag in mapping.columns if tag.output_column not in hidden for name in tag.names}
    wanted = {_plain(key) for key in mask.tags} if isinstance(mask.tags, tuple) else set()

    def is_out(key: str) -> bool:
        return _plain(key) in wanted if isinstance(mask.tags, tuple) else mask.tags == "all" or key not in shown_keys

    tags = json.loads(row.get("custom_data") or "{}")
    if any(is_out(key) for key in tags):
        left = {key: WITHHELD if is_out(key) else value for key, value in tags.items()}
        found["custom_data"] = json.dumps(left, ensure_ascii=False)
    return found


def _is_hidden(mask: Mask, pii: bool, names: tuple[str, ...]) -> bool:
    if isinstance(mask.tags, tuple):
        return not {_plain(key) for key in mask.tags}.isdisjoint(map(_plain, names))
    return mask.tags == "all" or pii


def _plain(key: str) -> str:
    """A key without case, dashes and blanks: variants of one key are withheld together."""
    return re.sub(r"[\W_]", "", key.lower())


def _number(mask: Mask, number: str | None) -> str:
    digits = re.sub(r"\D", "", (number or "").partition("@")[0])
    # The last digits of a short number would reveal too much of it.
    return f"[…{digits[-_SHOWN_DIGITS:]}]" if mask.numbers == "last4" and len(digits) > 2 * _SHOWN_DIGITS else WITHHELD


def masked_events(events: list[dict[str, object]], controls: set[str]) -> list[dict[str, object]]:
    """Custody events of a volume, without the hashes by which a withheld field could be guessed."""
    return [
        event
        if event["control_number"] not in controls or event["what"] == "media" or event["action"] == "packaged"
        else {**event, "sha256_before": None, "sha256_after": None}
        for event in events
    ]
