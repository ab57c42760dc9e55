"""The tag mapping compared with a night's data, and a first draft of a mapping.

Belongs here: counting found, missing and unmapped tags. Does not: printing (cli).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import yaml

from custody_pipeline.io.yaml_file import MAX_TEXT
from custody_pipeline.models.mapping import DEFAULT_PURPOSES, PURPOSES
from custody_pipeline.models.mapping_file import MAX_COLUMNS, RESERVED_COLUMNS
from custody_pipeline.warehouse.sql_files import query


@dataclass(frozen=True)
class MappedTagReport:
    """A mapped column in one night: in how many recordings it applies and is found, and where."""

    column: str
    attribute: str
    required: bool
    applies: int
    found: int
    missing: int
    elsewhere: int
    variant: int
    places: dict[str, int]
    """`source/purpose` → recordings whose value came from there."""


@dataclass(frozen=True)
class UnmappedTagReport:
    """A key that no mapping names: how many recordings have it, and on which participants."""

    key: str
    recordings: int
    purposes: tuple[str, ...]


@dataclass(frozen=True)
class MappingReport:
    """The report of `custody mapping check`."""

    night: date
    columns: tuple[MappedTagReport, ...]
    unmapped: tuple[UnmappedTagReport, ...]


def mapping_report(con: duckdb.DuckDBPyConnection, night: date) -> MappingReport:
    """Compare the night's mapping with the night's data. Values never appear in it."""
    columns = con.execute(query("mapping/columns_of_night"), {"night": night}).fetchall()
    unmapped = con.execute(query("mapping/unmapped_tags"), {"night": night}).fetchall()
    return MappingReport(
        night,
        tuple(MappedTagReport(*row) for row in columns),
        tuple(UnmappedTagReport(key, count, tuple(purposes)) for key, count, purposes in unmapped),
    )


def suggest_mapping(con: duckdb.DuckDBPyConnection) -> str:
    """Draft a mapping (YAML text) from every tag that the warehouse has seen, most frequent first."""
    rows = con.execute(query("mapping/tags_seen"), {"longest": MAX_TEXT, "most": MAX_COLUMNS}).fetchall()
    columns: dict[str, dict[str, Any]] = {}
    for key, purposes in rows:
        known = [purpose for purpose in purposes or () if purpose in PURPOSES]
        columns[_free_name(key, columns.keys() | RESERVED_COLUMNS)] = {
            "attribute": key,
            "purposes": known or list(DEFAULT_PURPOSES),
        }
    draft = {"version": 1, "columns": columns}
    return yaml.dump(draft, Dumper=_Draft, allow_unicode=True, sort_keys=False, width=120)


class _Draft(yaml.SafeDumper):
    """Writes a text with invisible characters in double quotes: in single quotes some would be read as line ends."""


_Draft.add_representer(
    str,
    lambda draft, text: draft.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    ),
)


def _free_name(key: str, taken: set[str]) -> str:
    stem = re.sub(r"[^a-z0-9]+", "_", key.casefold()).strip("_")[:40]
    if not stem or not stem[0].isalpha():
        stem = f"tag_{stem}".rstrip("_")
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    return name
