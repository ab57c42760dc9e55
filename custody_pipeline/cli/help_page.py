"""A page of the documentation in a terminal.

Belongs here: Markdown as text of the terminal's width. Does not: which page (help_commands.py).
"""

from __future__ import annotations

import re

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, TableElement
from rich.table import Table

_REPEATED = re.compile(r"\[([^]]+)\]\((?:\.\./)?\1\)")


class _WholeTable(TableElement):
    """A table whose long words go on in the next line; rich cuts them off."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            if isinstance(table, Table):
                for column in table.columns:
                    column.overflow = "fold"
            yield table


class _Page(Markdown):
    elements = {**Markdown.elements, "table_open": _WholeTable}  # noqa: RUF012 - as in the base class


def print_page(console: Console, text: str) -> None:
    """Print Markdown. The address of a link that repeats its text is left out."""
    console.print(_Page(_REPEATED.sub(r"\1", text), hyperlinks=False))
