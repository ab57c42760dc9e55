"""`python -m bench`: each stage with ours, the floor and the ratio, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from bench import capture
from bench.measure import Row, measure, missed, table, with_growth
from bench.record import described
from bench.stages import STAGES

SIZES = (2_000, 20_000)


def main() -> None:
    """Run the stages asked for at every size, and print what was found."""
    receiver = "capture"
    names = [*(stage.name for stage in STAGES), receiver]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", help="conversations of the night; with --stage, of every stage")
    parser.add_argument("--stage", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, of which the median is shown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the rows go as JSON; - for stdout, no table")
    parser.add_argument("--folder", type=Path, help="where the work is done, a temporary folder by default")
    arguments = parser.parse_args()
    tempfile.tempdir = arguments.folder and str(arguments.folder.absolute())
    rows: list[Row] = []
    failed: list[str] = []
    for stage in STAGES:
        # Some stages have sizes of their own, and keep them unless they are named.
        asked = arguments.size if len(arguments.stage) < len(names) or not stage.sizes else None
        for size in sorted(asked or stage.sizes or SIZES) if stage.name in arguments.stage else ():
            started = time.monotonic()
            found: list[Row] = []
            with tempfile.TemporaryDirectory(prefix="custody-bench-") as folder:
                try:
                    found = measure(stage, size, arguments.rounds, Path(folder))
                except (AssertionError, RuntimeError) as error:
                    failed.append(f"{stage.name} {size:,}: {error}")
            print(f"{stage.name} {size:,}: {time.monotonic() - started:.0f} s", file=sys.stderr)
            print(*list(table(found))[1:], sep="\n", file=sys.stderr, flush=True)
            rows += found
    rows = with_growth(rows)
    events = []
    if receiver in arguments.stage:
        with tempfile.TemporaryDirectory(prefix="custody-bench-") as folder:
            events = [
                capture.measure(Path(folder), rate=1_000, seconds=5.0, connections=64, tool=tool)
                for tool in capture.TOOLS
            ]
    text = json.dumps(described({"stages": [row._asdict() for row in rows], "capture": events}), indent=1) + "\n"
    if arguments.json == Path("-"):
        print(text, end="")
        sys.exit("\n".join(failed) or None)
    if arguments.json:
        arguments.json.write_text(text)
    print(*table(rows), sep="\n")
    if short := list(missed(rows)):
        print("\nGoals that were missed (docs/performance.md says why, as of its dates):", *short, sep="\n")
    for run in events:
        print(f"\nReceiver of live capture, load by {run['tool']}:")
        print(*(f"  {name.replace('_', ' ')} {value}" for name, value in run.items()), sep="\n")
    sys.exit("\n".join(failed) or None)


if __name__ == "__main__":
    main()
