"""Text of others for people: no character moves the cursor, ends a line or hides, and no spreadsheet evaluates it.

Belongs here: escaping for terminals and spreadsheets. Does not: escaping for a format (JSON, CSV, HTML).
"""

from __future__ import annotations

import unicodedata

_SKIPPED = {"Cc", "Cf", "Co", "Cn", "Zs", "Zl", "Zp"}
"""Categories of characters that spreadsheets skip before they look for a formula."""


def escaped(text: str) -> str:
    """The text with an escape such as `\\x1b` or `\\n` for every character that does not print."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def harmless_cell(value: object) -> object:
    """A cell with an apostrophe before a text that a spreadsheet could take for a formula; see publish/tables.py."""
    if not isinstance(value, str):
        return value
    visible = next((char for char in value if unicodedata.category(char) not in _SKIPPED and char not in "\"'"), "")
    formula = visible and visible in "=+-@＝＋－＠"
    return f"'{value}" if formula or value.startswith(("\t", "\r", "\n")) else value
