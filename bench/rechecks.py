"""A nightly run beside the rechecks of a whole open window, in Dagster's queue.

    python -m bench.rechecks                 # three nights before, of 1,000 calls each

Runs are queued as the schedules queue them: Dagster's launcher, a process for each run, this project's `dagster.yaml`.
Two nights of one size are compared. The first runs alone; the second is queued when three rechecks already are.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from bench.home import Found, deployment, seconds
from bench.night import NIGHT, organization
from custody_pipeline.defs.instance import open_instance

GOAL = 1.1


@contextmanager
def _workspace(instance: dg.DagsterInstance) -> Iterator[WorkspaceProcessContext]:
    target = ModuleTarget("custody_pipeline.definitions", None, None, "custody_pipeline")
    with WorkspaceProcessContext(instance, target) as context:
        servers = [child for child in psutil.Process().children() if "grpc" in child.cmdline()]
        yield context
    for server in servers:
        with suppress(psutil.NoSuchProcess):
            for process in (*server.children(recursive=True), server):
                process.kill()


def _queue(context: WorkspaceProcessContext, job: str, night: date) -> str:
    request = context.create_request_context()
    (repository,) = request.get_code_location("custody_pipeline").get_repositories().values()
    found: Any = repository.get_full_job(job)
    run: dg.DagsterRun = create_run_for_test(
        context.instance,
        job,
        tags={**found.tags, "dagster/partition": night.isoformat()},
        remote_job_origin=found.get_remote_origin(),
        job_code_origin=found.get_python_origin(),
    )
    context.instance.submit_run(run.run_id, request)
    return run.run_id


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
        with open_instance(settings) as instance, _workspace(instance) as context:
            alone = _queue(context, "nightly_custody", nights[3])
            before = _run_all(context, [alone])[alone]
            window = [_queue(context, "recheck_custody", night) for night in nights[:3]]
            beside = _queue(context, "nightly_custody", nights[4])
            ended = _run_all(context, [*window, beside])
    print(f"nights of {calls} calls{'':<37}measured          goal")
    print(Found("a nightly run alone, from the queue to its end", before, "s", float("inf")))
    print(Found("beside the rechecks of three nights", ended[beside], "s", before * GOAL))
    print(Found("the last of the rechecks", max(ended[run] for run in window), "s", float("inf")))
    print(Found("the nightly run, beside / alone", ended[beside] / before, "", GOAL))


if __name__ == "__main__":
    main()
