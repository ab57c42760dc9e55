"""Opening Dagster's instance of a home."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

from custody_pipeline.defs.instance import open_instance

PROCESSES = 4


def open_together(home: Path, together: Any) -> None:
    try:
        together.wait(60)
    except BrokenBarrierError:
        raise SystemExit("the others did not come") from None
    with open_instance(home) as instance:
        assert instance.get_runs() == []


def test_a_new_home_may_be_opened_by_several_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["custody_pipeline_tests.defs.test_instance"])
    for number in range(3):
        together = context.Barrier(PROCESSES)
        processes = [
            context.Process(target=open_together, args=(tmp_path / str(number), together)) for _ in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * PROCESSES
