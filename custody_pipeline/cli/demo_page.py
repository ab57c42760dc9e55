"""The page that `custody demo` prints at its end.

Belongs here: words and widths. Does not: the night (simulator/demo.py).
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console


def print_demo(console: Console, result: dict[str, Any]) -> None:
    """The summary on a terminal, and the next commands."""
    from custody_pipeline.cli.nights_page import night_line, print_summary
    from custody_pipeline.operations.summary import NightSummary
    from custody_pipeline.simulator.demo_capture import print_caught

    for one in result["earlier"]:
        found = NightSummary.from_dict(one["summary"]) if one["summary"] else None
        console.print("  " + night_line(date.fromisoformat(one["night"]), found, one["status"]), markup=False)
    if result["summary"]:
        print_summary(console, NightSummary.from_dict(result["summary"]))
    for problem in result["problems"]:
        console.print(f"  [red]{problem}[/red]", soft_wrap=True)
    if result["caught"]:
        print_caught(console, result["caught"])
    if kept := result.get("profile_path"):
        console.print("", Path(kept).with_suffix(".txt").read_text(), sep="\n", markup=False, end="")
        console.print(f"  kept as {kept}", soft_wrap=True)
    seconds, uris = result["seconds"], result["uris"]
    console.print(f"\n  {result['published_files']} files published to {uris['publish']},")
    console.print(f"  read back to {_near(uris['published'])}", markup=False, soft_wrap=True)
    if result["matter_report"]:
        console.print(
            f"  a small matter and its report:\n    {_near(result['matter_report'])}", markup=False, soft_wrap=True
        )
    what = f"{len(result['earlier']) + 1} nights" if result["earlier"] else "the night"
    console.print(f"  {what} took {seconds['night']} s, everything {seconds['all']} s")
    console.print("\n[bold]Next[/bold]")
    home = Path(uris["analyst"]).parent
    recording = f" {result['caught']['recordings'][0]}" if result["caught"] else " RECORDING_ID"
    worst = max(result["earlier"], key=lambda one: (one["summary"] or {}).get("gaps", 0), default=None)
    week = (
        (
            f"report --from {result['earlier'][0]['night']} --to {result['night']}",
            f"all nights on one page: something went wrong on {worst['night']}",
        ),
    ) if worst else ()  # fmt: skip
    for command, what in (
        *week,
        ("status", "every night at a glance"),
        (f"report --date {result['night']}", "one page: are we complete, what must be done"),
        (f"gaps --date {result['night']}", "what is missing, why, and what to do"),
        (
            f"explain{recording}",
            "the whole story of one recording, here one that was caught"
            if result["caught"]
            else "the whole story of one recording",
        ),
        ("verify", "check what was published: digests, rows, signatures"),
        *(() if worst else (("demo --nights 7", "the week before it, one of its nights with a serious fault"),)),
        ("matter show demo", "a discovery request"),
        ("matter produce demo", "what the other side gets: the demo's servers start again for it"),
        ("ui", "Dagster, on http://127.0.0.1:3000"),
    ):
        console.print(f"  {what}\n    {_custody(home)} {command}", markup=False, soft_wrap=True)
    console.print("  SQL, with DuckDB's command line: https://duckdb.org/install", markup=False, soft_wrap=True)
    console.print(f"    duckdb -readonly {shlex.quote(_near(uris['analyst']))}", markup=False, soft_wrap=True)


def _near(path: str) -> str:
    """The path to type here: relative if it is below this folder."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _custody(home: Path) -> str:
    """The command to type in this terminal for this home."""
    program = "custody" if shutil.which("custody") else os.path.relpath(sys.argv[0])
    return shlex.quote(program) + ("" if home == Path(".custody").absolute() else f" --home {shlex.quote(str(home))}")
