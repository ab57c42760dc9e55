"""An erasure in a process of its own, which is killed when a step has ended.

Such a process imports this module, and not those of the tests, which would take it a quarter of a second.
"""

from __future__ import annotations

import os
import signal
from functools import reduce
from importlib import import_module
from typing import Any

from custody_pipeline.forgetting.erase import erase, resume
from custody_pipeline.forgetting.finder import Asked
from custody_pipeline.settings import Settings
from custody_pipeline_tests.forked import forked


def say(_: str) -> None:
    """Nobody listens."""


def killed_at(settings: Settings, wanted: Asked | None, step: tuple[str, str]) -> None:
    """Erase, or go on, in a process of its own that is killed when a function has ended: module, name."""
    process = forked(die_at, settings, wanted, step)
    process.join()
    assert process.exitcode == -signal.SIGKILL, step


def die_at(settings: Settings, wanted: Asked | None, step: tuple[str, str]) -> None:
    *outer, name = step[1].split(".")
    place: Any = reduce(getattr, outer, import_module(f"custody_pipeline.forgetting.{step[0]}"))
    real = getattr(place, name)

    def killing(*arguments: object, **named: object) -> None:
        real(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, killing)
    if wanted is not None:
        erase(settings, wanted, say)
    else:
        resume(settings, say)
