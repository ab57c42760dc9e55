"""What `custody demo` prints at its end.

Belongs here: words and widths. Does not: the night (simulator/demo.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def print_demo(console: Console, result: dict[str, Any]) -> None:
    """The summary on a terminal, and the next commands."""
    from custody_pipeline.cli.summary_page import print_summary
    from custody_pipeline.operations.summary import NightSummary
    from custody_pipeline.simulator.demo_capture import print_caught

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
    console.print(
        f"\n  {result['published_files']} files published to {uris['publish']},\n  read back to {uris['published']}"
    )
    if result["matter_report"]:
        console.print(f"  a small matter and its report: {result['matter_report']}", soft_wrap=True)
    console.print(f"  the night took {seconds['night']} s, everything {seconds['all']} s")
    console.print(
        f"""
[bold]Next[/bold]
  custody status                     every night at a glance
  custody gaps --date {result["night"]}     what is missing, why, and what to do
  custody explain RECORDING_ID       the whole story of one recording
  custody verify                     check the seal, offline
  custody matter show demo           a discovery request: what it finds, what is missing
  duckdb -readonly {uris["analyst"]}
  make ui                            Dagster, on http://127.0.0.1:3000""",
        soft_wrap=True,
    )
