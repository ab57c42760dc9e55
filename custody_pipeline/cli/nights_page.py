"""Nights on a terminal: one with its numbers, or all in a table.

Belongs here: words, colours and widths. Does not: finding and counting the nights (operations/summary.py).
"""

from __future__ import annotations

from datetime import date
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from custody_pipeline.cli.shared import tell
from custody_pipeline.operations.summary import NightSummary
from custody_pipeline.warehouse.night_states import NOT_PUBLISHED


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
    numbers.add_row("completeness", f"[bold]{summary.completeness.replace('_', ' ')}[/bold]{rests_on(summary)}")
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


def print_nights(console: Console, found: list[NightSummary]) -> None:
    """Print the table, what is not established and why, and what to do."""
    names, rows = ("night", "state", "rev", "recordings", "complete", "gaps", "excluded", "unexplained"), []
    for night in found:
        if night.state != "missing":
            counted = (night.recordings, night.complete, night.gaps, night.excluded, night.unexplained)
            is_counted = night.revision is not None or night.recordings
            numbers = (str(number) if is_counted else "–" for number in counted)
            rows.append((str(night.night), night.state or "–", str(night.revision or "–"), *numbers))
    if sum(max(map(len, cells)) + 2 for cells in zip(names, *rows, strict=True)) - 2 > console.width:
        for day, *values in rows:
            tell(f"{day}  " + ", ".join(f"{name} {value}" for name, value in zip(names[1:], values, strict=True)))
    elif rows:
        table = Table(*names[:2], box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for name in names[2:]:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for night in found:
        if night.detail:
            tell(f"{night.night} failed: {night.detail}")
    for (claim, sources), group in groupby(found, _claim):
        if claim:
            newest, *_, oldest = [night.night for night in group] * 2
            tell(f"{claim}, {oldest if oldest == newest else f'{oldest} to {newest}'}{sources}")
    for is_missing, group in groupby(found, lambda night: night.state == "missing"):
        if is_missing:
            newest, *_, oldest = [night.night for night in group] * 2
            nights = f"it: {oldest}" if oldest == newest else f"them: {oldest} to {newest}"
            tell(f"missing, nobody collected {nights}")
    if any(night.completeness != "established" or night.state in NOT_PUBLISHED for night in found):
        tell("→ Solve the cause, or wait for the vendor, then run the night again: custody help runbooks", 2)


def _claim(night: NightSummary) -> tuple[str, str]:
    """The claim that a collected night cannot make, and the sources that are short; empty if it is established."""
    if night.completeness == "established" or night.state in NOT_PUBLISHED:
        return "", ""
    return night.completeness.replace("_", " "), rests_on(night)
