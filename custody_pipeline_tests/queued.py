"""Runs in Dagster's queue: its launcher, a process for each run, and the definitions served by a process of Dagster's.

Belongs here: the processes of the test of the queue and of the benchmark of rechecks. Does not: judging, measuring.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psutil
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import dagster as dg


@contextmanager
def workspace(instance: dg.DagsterInstance) -> Iterator[WorkspaceProcessContext]:
    """The definitions, served by a process of Dagster's that starts a process for each run."""
    target = ModuleTarget("custody_pipeline.definitions", None, None, "custody_pipeline")
    with WorkspaceProcessContext(instance, target) as context:
        servers = [child for child in psutil.Process().children() if "grpc" in child.cmdline()]
        yield context
    # Dagster's server does not end by itself once it has started runs.
    for server in servers:
        with suppress(psutil.NoSuchProcess):
            for process in (*server.children(recursive=True), server):
                process.kill()


def queue(context: WorkspaceProcessContext, night: date, job: str = "nightly_custody") -> str:
    """Ask for a night, as the page of the job does. Returns the run's id."""
    request = context.create_request_context()
    (repository,) = request.get_code_location("custody_pipeline").get_repositories().values()
    asked: Any = repository.get_full_job(job)
    run: dg.DagsterRun = create_run_for_test(
        context.instance,
        job,
        tags={**asked.tags, "dagster/partition": night.isoformat()},
        remote_job_origin=asked.get_remote_origin(),
        job_code_origin=asked.get_python_origin(),
    )
    context.instance.submit_run(run.run_id, request)
    return run.run_id
