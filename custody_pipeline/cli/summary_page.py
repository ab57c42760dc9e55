"""A night's numbers on a terminal.

Belongs here: words, colours and widths. Does not: counting (operations/summary.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from custody_pipeline.operations.summary import NightSummary

if TYPE_CHECKING:
    from datetime import date

    from rich.console import Console


def rests_on(summary: NightSummary) -> str:
    """The sources that keep a night from being established, after a colon; empty if none does."""
    sources = ", ".join(f"{source} {state.replace('_', ' ')}" for source, state in summary.not_whole.items())
    return sources and f": {sources}"


def night_line(night: date, summary: NightSummary | None, status: int) -> str:
    """A night in one line of at most 80 columns. `status`: the exit status of its run."""
    if summary is None:
        return f"{night}  failed"
    ended = {0: summary.completeness.replace("_", " "), 1: "findings"}.get(status, "failed")
    return (
        f"{night}  r{summary.revision or '–'}  {summary.recordings} recordings, {summary.gaps} with gaps, "
        f"{summary.unexplained} unexplained, {ended}"
    )


def print_summary(console: Console, summary: NightSummary) -> None:
    """The numbers on a terminal."""
    from rich.padding import Padding
    from rich.table import Table

    console.print(f"\n[bold]Night of {summary.night}[/bold]  ·  revision {summary.revision or '–'}")
    numbers = Table.grid()
    numbers.add_column(width=13)
    numbers.add_row(
        "recordings",
        f"expected [bold]{summary.expected}[/bold] = present {summary.present} + explained {summary.explained}"
        f"   unexplained [bold]{summary.unexplained}[/bold]",
    )
    numbers.add_row(
        "custody",
        f"[green]{summary.complete} complete[/green] · [red]{summary.gaps} with gaps[/red]"
        f" · {summary.excluded} excluded",
    )
    numbers.add_row("complete", f"[bold]{summary.completeness.replace('_', ' ')}[/bold]{rests_on(summary)}")
    numbers.add_row("tags", " · ".join(f"{number} {state}" for state, number in summary.tags.items()))
    console.print(Padding.indent(numbers, 2))
    if summary.reasons:
        table = Table("reason", "severity", "recordings", "recoverable", box=None, padding=(0, 2), header_style="dim")
        for row in summary.reasons:
            colour = {"error": "red", "warning": "yellow"}.get(row["severity"], "dim")
            table.add_row(
                row["reason"], f"[{colour}]{row['severity']}[/]", str(row["recordings"]), str(row["recoverable"])
            )
        console.print(table)
