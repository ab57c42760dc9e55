"""Processes that are forked from one that has imported the product.

An import of the product takes a third of a small night. A forked process has the environment of its start, can be
killed with SIGKILL, and leaves nothing behind in the process of the test.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.context import ForkServerContext, ForkServerProcess
    from pathlib import Path

IMPORTED = [
    "custody_pipeline.cli.main",
    "custody_pipeline.definitions",
    "custody_pipeline.defs.assembled",
    "custody_pipeline.defs.instance",
    "custody_pipeline.defs.one_night",
    "custody_pipeline.forgetting.due",
    "custody_pipeline.night",
    "custody_pipeline.operations.summary",
    "custody_pipeline_tests.ready_warehouse",
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
    "dagster._core.storage.schedules.sqlite.sqlite_schedule_storage",
    "dlt.destinations.impl.duckdb.duck",
    "dlt.sources.helpers.requests",
    "matplotlib.backends.backend_agg",
    "boto3",
    "obstore",
    "pyarrow.dataset",
    "custody_pipeline_tests.forked_parent",
]


def forking() -> ForkServerContext:
    """The context that makes such processes, and the objects that they share."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def forked(target: Callable[..., object], *arguments: Any) -> ForkServerProcess:
    """Start a process with the environment of this one."""
    process = forking().Process(target=_in_environment, args=(dict(os.environ), target, arguments), daemon=True)
    process.start()
    return process


def _in_environment(environment: Mapping[str, str], target: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)


def custody(*arguments: str, environment: Mapping[str, str], output: Path, umask: int = 0o022) -> ForkServerProcess:
    """`custody` with these arguments, in a process group of its own; it writes to files beginning with `output`.

    The names of the files end in `.out` and `.err`.
    """
    process = forking().Process(target=_custody, args=(arguments, dict(environment), output, umask), daemon=True)
    process.start()
    return process


def run_custody(
    *arguments: str, environment: Mapping[str, str], output: Path, umask: int = 0o022
) -> subprocess.CompletedProcess[str]:
    """Run `custody` with these arguments, and return its status, output and errors."""
    process = custody(*arguments, environment=environment, output=output, umask=umask)
    process.join()
    texts = [output.with_suffix(suffix).read_text() for suffix in (".out", ".err")]
    return subprocess.CompletedProcess(arguments, process.exitcode or 0, *texts)


def _custody(arguments: tuple[str, ...], environment: dict[str, str], output: Path, umask: int) -> None:
    os.setsid()
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    _write_to(output.with_suffix(".out"), sys.stdout)
    _write_to(output.with_suffix(".err"), sys.stderr)
    sys.argv = ["custody", *arguments]
    import_module("custody_pipeline.__main__").main()


def _write_to(file: Path, stream: IO[str]) -> None:
    with file.open("ab") as target:
        os.dup2(target.fileno(), stream.fileno())
