"""The tag mapping: which attribute becomes which `custom_data_<column>`, and where it is required.

Belongs here: what a mapping is. Does not: its file (mapping_file.py), its tables in the warehouse (mapping_tables.py),
deciding which value a recording gets (sql/staging/tags/recording_tags.sql).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import orjson

# `participants[].purpose` of the analytics models (PureCloudPlatformClientV2 269.0.0, AnalyticsParticipant).
PURPOSES = (
    "acd", "agent", "api", "botflow", "campaign", "customer", "dialer", "external", "fax", "group", "inbound", "ivr",
    "manual", "outbound", "station", "user", "voicemail", "workflow",
)  # fmt: skip

DEFAULT_PURPOSES = ("agent", "user", "customer", "external", "ivr", "botflow", "acd", "workflow")


def plain(key: str) -> str:
    """A key without case and punctuation, its accented letters written in one way: equal for variants of one key.

    `sql/macros/plain.sql` does the same.
    """
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFC", key.lower()))


_PREFIX = re.compile(r"(?:context|conversationdetails\.participantdata)\.(?=.)", re.IGNORECASE | re.DOTALL)


def without_prefix(key: str) -> str:
    """A key without a prefix of the platform: in web chats, or for attributes that the agent's view shows.

    `sql/macros/behind_prefix.sql` knows the same prefixes.
    """
    found = _PREFIX.match(key)
    return key[found.end() :] if found else key


@dataclass(frozen=True)
class MappedTag:
    """One column of the mapping.

    Attributes:
        column: name without the `custom_data_` prefix.
        attribute: the key in `participants[].attributes`, as set.
        aliases: other exact keys, tried in order when `attribute` is not there.
        prefixes: may precede each of these keys; keys with a prefix are tried last.
        path: JSONPath within the attribute's text (`$.case.id`); None: the whole text.
        purposes: participants that may carry it, best first.
        required: where the tag applies, its absence is a gap.
        pii: personal data, masked in previews.
        flows, queues, scripts: names or ids; the tag applies to calls that touched one of them (all calls if empty).
    """

    column: str
    attribute: str
    aliases: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    path: str | None = None
    purposes: tuple[str, ...] = DEFAULT_PURPOSES
    required: bool = False
    pii: bool = False
    description: str = ""
    flows: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every accepted key, in the order they are tried: the attribute, its aliases, then both with each prefix."""
        plain = (self.attribute, *self.aliases)
        return tuple(dict.fromkeys((*plain, *(prefix + name for prefix in self.prefixes for name in plain))))

    @property
    def output_column(self) -> str:
        """The column in chain_of_custody."""
        return f"custom_data_{self.column}"


@dataclass(frozen=True)
class AcceptedScript:
    """A published script and the versions whose tags this mapping understands."""

    script_id: str
    versions: tuple[str, ...]
    name: str = ""


@dataclass(frozen=True)
class TagMapping:
    """A validated mapping. `sha256` is of the file's bytes; `purposes` orders the participants of unmapped tags."""

    path: Path
    sha256: str
    columns: tuple[MappedTag, ...]
    scripts: tuple[AcceptedScript, ...] = ()
    purposes: tuple[str, ...] = DEFAULT_PURPOSES

    @property
    def output_columns(self) -> tuple[str, ...]:
        """The mapped columns of chain_of_custody, in the file's order."""
        return tuple(tag.output_column for tag in self.columns)

    @property
    def structure(self) -> str:
        """The structure for DuckDB's `json_transform`: every mapped column, as text."""
        return orjson.dumps(dict.fromkeys(self.output_columns, "VARCHAR")).decode()
