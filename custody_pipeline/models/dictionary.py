"""The data dictionary: every table and column, from the headers of `sql/` and the tag mapping.

Belongs here: the Markdown. Does not: reading the headers (warehouse/sql_files.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from custody_pipeline.models.mapping import TagMapping
from custody_pipeline.models.reasons import REASONS
from custody_pipeline.warehouse.sql_files import SqlModel


def data_dictionary(models: Mapping[str, SqlModel], mapping: TagMapping) -> str:
    """The tables of `custody` (and, in short, of the other schemas) as Markdown, mapped columns included."""
    lines = [
        "# Data dictionary",
        "",
        "Generated from the headers of `sql/` and from the tag mapping by `custody dictionary`; do not edit.",
        "Times are UTC. **pii** marks personal data: masked in previews, never logged.",
        "",
        "Resolved tags, their precedence and the legs they belong to are explained at `staging.recording_tags` and",
        "`staging.other_legs`; every value that any source showed is in `custody.custom_data`.",
        "",
        "## Gap reasons",
        "",
        "`error` and `warning` make a recording a gap; `info` is a note. A night is rechecked while the vendor's data",
        "may still arrive (`lag`), or as long as the vendor keeps the recording (`retention`).",
        "",
        "| code | severity | what happened | recoverable | rechecked | next |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{reason.code}` | {reason.severity} | {reason.sentence} | {reason.recoverable} | {reason.recheck} | "
        f"{reason.next_action} |"
        for reason in REASONS
    ]
    for schema in ("custody", "staging", "checks", "raw"):
        lines += ["", f"## {schema}"]
        for model in sorted((m for m in models.values() if m.schema == schema), key=lambda m: m.name):
            lines += ["", f"### {model.key}", "", model.description, ""]
            if model.grain:
                lines += [f"One row per {', '.join(f'`{name}`' for name in model.grain)}.", ""]
            lines += ["| column | | meaning |", "|---|---|---|"]
            lines += [
                f"| `{column['name']}` | {'**pii**' if column['pii'] else ''} | {_cell(column['description'])} |"
                for column in columns_of(model, mapping)
            ]
    return "\n".join(lines) + "\n"


def columns_of(model: SqlModel, mapping: TagMapping) -> list[dict[str, Any]]:
    """`name`, `pii` and `description` of a table's columns, mapped ones included."""
    rows: list[tuple[str, bool, str]] = []
    for column in model.columns:
        if column.name == "custody_status" and model.has_mapped_columns:
            rows += _mapped_rows(mapping)
        rows.append((column.name, column.pii, column.description))
    return [{"name": name, "pii": pii, "description": text} for name, pii, text in rows]


def _mapped_rows(mapping: TagMapping) -> list[tuple[str, bool, str]]:
    rows = []
    for tag in mapping.columns:
        place = f"tag `{tag.attribute}`" + (f", path `{tag.path}`" if tag.path else "")
        needed = "; required" if tag.required else ""
        rows.append(
            (tag.output_column, tag.pii, f"{tag.description} ({place}; on {', '.join(tag.purposes)}{needed})".strip())
        )
    return rows


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
