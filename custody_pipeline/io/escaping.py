"""Foreign text on a terminal: no character moves the cursor, ends a line or is invisible.

Belongs here: escaping for people. Does not: escaping for a format (JSON, CSV, HTML).
"""

from __future__ import annotations

from textwrap import wrap


def escaped(text: str) -> str:
    """The text with an escape such as `\\x1b` or `\\n` for every character that does not print."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def folded(text: str, width: int, indent: str = "", further: str | None = None) -> str:
    """The escaped text on lines of at most `width` columns. A longer word, such as a path, stays whole, to be copied.

    Args:
        further: before the other lines; default: `indent`.
    """
    more = indent if further is None else further
    lines = wrap(
        escaped(text),
        max(1, width),
        initial_indent=indent,
        subsequent_indent=more,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n".join(lines)
