"""`python -m bench [--size N …] [--rounds R] [--json]`: each stage with ours, the floor and the ratio."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from bench import load


def main() -> None:
    """Run every stage at every size and print the table."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--size", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for size in arguments.size:
        with tempfile.TemporaryDirectory(prefix="custody-bench-") as folder:
            rows.append(load.run(size, arguments.rounds, Path(folder)))
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'stage':<8}{'documents':>12}{'ours s':>10}{'floor s':>10}{'ratio':>8}")
    for row in rows:
        print(f"{row['stage']:<8}{row['documents']:>12,}{row['ours_s']:>10}{row['floor_s']:>10}{row['ratio']:>8}")
    print("The receiver of live capture has a bench of its own: python bench/capture.py")


main()
