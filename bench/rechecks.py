"""A nightly run beside the rechecks of a whole open window, in Dagster's queue.

    python -m bench.rechecks                 # three nights before, of 1,000 calls each

Runs are queued as the schedules queue them: Dagster's launcher, a process for each run, this project's `dagster.yaml`.
Two nights of one size are compared. The first runs alone; the second is queued when three rechecks already are.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from bench.home import Found, deployment, seconds
from bench.night import NIGHT, organization
from custody_pipeline.defs.instance import open_instance
from custody_pipeline_tests.queued import queue, workspace

GOAL = 1.1


def _run_all(context: WorkspaceProcessContext, runs: list[str]) -> dict[str, float]:
    """Start queued runs as the daemon does, until all have ended. Returns the seconds of each, from now to its end."""
    daemon, begun = QueuedRunCoordinatorDaemon(interval_seconds=1), time.time()
    ended: dict[str, float] = {}
    while len(ended) < len(runs):
        for _ in daemon.run_iteration(context):
            pass
        for record in context.instance.get_run_records(dg.RunsFilter(runs)):
            run = record.dagster_run
            if run.is_finished and record.end_time is not None and run.run_id not in ended:
                if not run.is_success:
                    raise RuntimeError(f"run {run.run_id} ended as {run.status.value}")
                ended[run.run_id] = record.end_time - begun
        time.sleep(0.5)
    return ended


def main() -> None:
    """Print the seconds of both nights and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.rechecks", description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000)
    calls = parser.parse_args().calls
    nights = [NIGHT - timedelta(days=back) for back in range(4, -1, -1)]
    organizations = [replace(organization(calls), night=night) for night in nights]
    with (
        tempfile.TemporaryDirectory(prefix="custody-bench-") as folder,
        deployment(organizations, Path(folder)) as settings,
    ):
        seconds("run", "--from", nights[0], "--to", nights[2])
        with open_instance(settings) as instance, workspace(instance) as context:
            alone = queue(context, nights[3])
            before = _run_all(context, [alone])[alone]
            window = [queue(context, night, "recheck_custody") for night in nights[:3]]
            beside = queue(context, nights[4])
            ended = _run_all(context, [*window, beside])
    print(f"nights of {calls} calls{'':<37}measured          goal")
    print(Found("a nightly run alone, from the queue to its end", before, "s", float("inf")))
    print(Found("beside the rechecks of three nights", ended[beside], "s", before * GOAL))
    print(Found("the last of the rechecks", max(ended[run] for run in window), "s", float("inf")))
    print(Found("the nightly run, beside / alone", ended[beside] / before, "", GOAL))


if __name__ == "__main__":
    main()
