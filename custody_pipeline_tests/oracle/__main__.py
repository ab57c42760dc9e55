"""`python -m custody_pipeline_tests.oracle`: seeds for a time, and what they break."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from custody_pipeline_tests.oracle.machine import Trial, machine, run_seed, shrink


def main() -> int:
    """Run seeds for `--seconds`; 1 if a property broke."""
    parser = argparse.ArgumentParser(prog="python -m custody_pipeline_tests.oracle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long to run")
    parser.add_argument("--seed-from", type=int, default=1, help="the first seed; the others follow")
    parser.add_argument("--seeds", type=int, default=None, help="how many seeds at most")
    parser.add_argument("--no-shrink", action="store_true", help="report failing seeds as they are")
    parser.add_argument("--shrink-runs", type=int, default=12, help="nights to spend on shrinking one seed")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    seen: Counter[str] = Counter()
    seed, failing = arguments.seed_from, 0
    with machine() as made:
        while time.monotonic() < until and (arguments.seeds is None or seed < arguments.seed_from + arguments.seeds):
            trial = run_seed(made, seed)
            if trial.broken:
                failing += 1
                new = not trial.properties <= set(seen)
                seen.update(trial.properties)
                print(f"seed {seed}: FAILS ({sum(ending.seconds for ending in trial.endings):.1f} s)", flush=True)
                if new and not arguments.no_shrink:
                    trial = shrink(made, trial, arguments.shrink_runs)
                _print(trial)
            else:
                print(f"seed {seed}: ok ({sum(ending.seconds for ending in trial.endings):.1f} s)", flush=True)
            if trial.unknown:
                print(f"  asked for what the platform lacks: {sorted(trial.unknown)}", flush=True)
            seed += 1
    print(f"{seed - arguments.seed_from} seeds, {failing} failing")
    for name, count in seen.most_common():
        print(f"  {count:4d}  {name}")
    return 1 if failing else 0


def _print(trial: Trial) -> None:
    world = trial.plan.world
    print(f"  api {world.api} · {world.manifest_source} · single_reads {world.single_reads} · page {world.page_size}")
    for conversation in world.conversations:
        fates = ", ".join(
            f"{recording.kind} {recording.id[:8]} {recording.fate}" for recording in conversation.recordings
        )
        print(f"  conversation {conversation.id[:8]} ({conversation.readable}): {fates}")
    for fault in trial.plan.faults:
        print(f"  fault  {str(fault)[:400]}")
    for broken in trial.broken[:8]:
        print(f"  BROKEN {broken.property}\n         {broken.detail}")
    for ending in trial.endings:
        words = "timed out" if ending.timed_out else "killed" if ending.killed else f"status {ending.status}"
        print(f"  {words}; {(ending.exception or ending.stderr).strip()[-300:]!r}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
