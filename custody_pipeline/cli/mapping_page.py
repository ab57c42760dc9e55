"""`custody mapping check`: how the tag mapping fits one night, for people.

Belongs here: the words on the terminal. Does not: the counts (models/mapping_report.py).
"""

from __future__ import annotations

import orjson
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from custody_pipeline.models.mapping_report import MappedTagReport, MappingReport

# The most frequent are shown.
_SHOWN_UNMAPPED = 50


def print_report(console: Console, report: MappingReport) -> None:
    """Print each mapped column with the places of its tag, then the unmapped tags."""
    console.print(Text(f"Tag mapping against the night of {report.night}", style="bold"))
    for column in report.columns:
        _print_column(console, column)
    console.print()
    if not report.unmapped:
        console.print("Every tag of the night is in the mapping.")
        return
    console.print(Text("In no mapping (kept in custom_data): UNMAPPED_TAG, or TAG_KEY_VARIANT", style="bold"))
    for tag in report.unmapped[:_SHOWN_UNMAPPED]:
        # As a JSON string: a key may hold anything, line ends included.
        name = orjson.dumps(tag.key).decode()
        recordings = f"{tag.recordings} recording{'s' if tag.recordings != 1 else ''}"
        console.print(_indented(Text(f"{name}  {recordings}, on {', '.join(tag.purposes)}")))
    if len(report.unmapped) > _SHOWN_UNMAPPED:
        console.print(_indented(Text(f"and {len(report.unmapped) - _SHOWN_UNMAPPED:,} more; --json lists them all")))


def _print_column(console: Console, column: MappedTagReport) -> None:
    need = "required" if column.required else "optional"
    counts = {
        f"found in {column.found} of {column.applies}": True,
        f"without a known value in {column.missing}": column.missing,
        f"on another participant in {column.elsewhere}": column.elsewhere,
        f"under another name in {column.variant}": column.variant,
    }
    places = ", ".join(f"{place} {recordings}" for place, recordings in column.places.items())
    bad = column.required and column.found < column.applies
    console.print()
    console.print(Text.assemble((column.column, "bold"), f"  from {orjson.dumps(column.attribute).decode()}, {need}"))
    found = " · ".join(text for text, shown in counts.items() if shown)
    console.print(_indented(Text(found, style="yellow" if bad else "")))
    if places:
        console.print(_indented(Text(f"where: {places}", style="dim")))


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 2))
