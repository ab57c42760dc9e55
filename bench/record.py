"""Runs of the benchmark that are kept, and what the docs show of them: `python -m bench.record`.

    python -m bench --json - > run.json            # somewhere, when nothing else runs
    python -m bench.record --add run.json          # kept below bench/records, and shown in the docs
    python -m bench.record                         # shown again, after a record changed

Belongs here: the kept runs, the table and the plot in docs/performance.md. Does not: measuring.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bench.measure import Row, table
from custody_pipeline.distribution import version

RECORDS = Path(__file__).parent / "records"
DOCS = Path(__file__).parent.parent / "docs"
PAGE, PLOT = DOCS / "performance.md", DOCS / "images/bench.svg"
_BLOCK = re.compile(r"(?<=<!-- kept runs -->\n```text\n).*?(?=```\n)", re.DOTALL)
_SHOWN = 2


@dataclass(frozen=True)
class Run:
    """A run that was kept: the day, the version that was measured, and its rows."""

    day: date
    version: str
    rows: tuple[Row, ...]


def kept(folder: Path = RECORDS) -> list[Run]:
    """Every kept run, the oldest first."""
    runs = []
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_bytes())
        rows = tuple(Row(**row) for row in found["stages"])
        runs.append(Run(date.fromisoformat(found["day"]), found["version"], rows))
    return runs


def add(run: Path, folder: Path = RECORDS) -> Path:
    """Keep what `python -m bench --json` wrote, under its day."""
    found = json.loads(run.read_bytes())
    path = folder / f"{found['day']}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path


def described(found: dict[str, object]) -> dict[str, object]:
    """What a run found, with its day and the version that was measured."""
    return {"day": date.today().isoformat(), "version": version(), **found}


def shown(page: str, runs: list[Run]) -> str:
    """The page of the docs with the tables of the newest runs, the newest first."""
    tables = (f"{run.day}, version {run.version}\n{_lines(run)}" for run in reversed(runs[-_SHOWN:]))
    return _BLOCK.sub(lambda _: "\n".join(tables), page)


def _lines(run: Run) -> str:
    return "".join(f"{line.rstrip()}\n" for line in table(list(run.rows)))


def by_stage(runs: list[Run]) -> dict[str, dict[date, float]]:
    """Of each stage: what each run took, by the newest goal, at the largest size with that goal. 1 is met."""
    goals = {row.stage: row for run in runs for row in run.rows if (row.goal, row.seconds) != (None, None)}
    found: dict[str, dict[date, float]] = {stage: {} for stage in goals}
    for run in runs:
        for row in run.rows:
            goal = goals.get(row.stage)
            if goal is not None and goal.size == row.size:
                found[row.stage][run.day] = row.ours / ((goal.goal or 0) * row.floor + (goal.seconds or 0))
    return found


def plot(runs: list[Run]) -> str:
    """Each stage by its goal, one mark a run, as SVG: left of the line the goal is met."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    stages = by_stage(runs)
    days = sorted({run.day for run in runs})
    with mpl.rc_context({"svg.hashsalt": "custody", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 0.5 + 0.26 * len(stages)), layout="constrained")
        axes = figure.subplots()
        for number, day in enumerate(days):
            marks = [(at, measured[day]) for at, measured in enumerate(stages.values()) if day in measured]
            shade = f"{0.75 * (1 - (number + 1) / len(days)):.2f}"
            axes.scatter([x for _, x in marks], [at for at, _ in marks], color=shade, label=day.isoformat(), zorder=2)
        axes.axvline(1, color="0.5", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_yticks(range(len(stages)), list(stages))
        axes.invert_yaxis()
        axes.set_xlabel("measured by goal: at most 1")
        axes.grid(axis="x", color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right upper", frameon=False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def main() -> None:
    """Keep a run if one is given; then bring the docs up to date."""
    parser = argparse.ArgumentParser(prog="python -m bench.record", description=__doc__)
    parser.add_argument("--add", type=Path, metavar="FILE", help="a run to keep: what --json wrote")
    arguments = parser.parse_args()
    if arguments.add:
        print(add(arguments.add))
    runs = kept()
    PAGE.write_text(shown(PAGE.read_text(), runs))
    PLOT.write_text(plot(runs))


if __name__ == "__main__":
    main()
