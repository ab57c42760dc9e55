"""Text of others on a terminal: no character moves the cursor, ends a line or hides.

Belongs here: escaping for people. Does not: escaping for a format (JSON, CSV, HTML).
"""

from __future__ import annotations


def escaped(text: str) -> str:
    """The text with an escape such as `\\x1b` or `\\n` for every character that does not print."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
