"""`custody run`: one night in this process.

Belongs here: starting the night, and its outcome for people. Does not: its steps (the other modules of defs).
"""

from __future__ import annotations

import gc
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from custody_pipeline.operations.profiling import Sampler
from custody_pipeline.operations.rebuild import unknown_nights
from custody_pipeline.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date
    from pathlib import Path

    from custody_pipeline.operations.profiling import Profile
    from custody_pipeline.operations.summary import NightSummary
    from custody_pipeline.settings import Settings

_T = TypeVar("_T")
FINDINGS, INCOMPLETE = 1, 2


@dataclass(frozen=True)
class Outcome:
    """How a night ended.

    Attributes:
        status: 0 published and complete · 1 published or held back, with findings · 2 a step failed.
        problems: one sentence each.
        profile: only on request; `profile_path` is its file.
    """

    night: date
    run_id: str
    status: int
    problems: list[str]
    summary: NightSummary | None
    profile: Profile | None = None
    profile_path: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON types."""
        return {
            "night": self.night.isoformat(),
            "run_id": self.run_id,
            "status": self.status,
            "problems": self.problems,
            "summary": self.summary.to_dict() if self.summary else None,
            **({"profile": self.profile.to_dict(), "profile_path": str(self.profile_path)} if self.profile else {}),
        }


def run_one_night(
    settings: Settings,
    night: date,
    *,
    verbose: bool = False,
    profile: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run `nightly_custody` for `night`. With `profile`, keep a profile of it below `$CUSTODY_HOME/profiles`.

    Raises:
        SettingsError: a setting is missing or wrong; nothing was done.
    """
    settings.require("export_url")
    settings.require("publish_url")
    if unknown := unknown_nights(settings):
        several = f"{len(unknown)} nights, {unknown[0]} to {unknown[-1]},"
        which = several if len(unknown) > 1 else f"the night of {unknown[0]},"
        say(
            f"{settings.publish_url} has {which} of which this home knows nothing; "
            "if its warehouse was lost, stop and run custody rebuild"
        )
    with Sampler() if profile else nullcontext() as sampled:
        outcome = _run(settings, night, verbose, say)
    if sampled is None:
        return outcome
    from custody_pipeline.defs.run_profile import profile_night

    found = profile_night(settings, night, outcome.run_id, sampled)
    return replace(outcome, profile=found, profile_path=found.write(settings.home))


def _run(settings: Settings, night: date, verbose: bool, say: Callable[[str], None]) -> Outcome:
    say("loading the pipeline")
    with _kept_from_collector():
        import dlt  # noqa: F401 - the load step imports it
        import matplotlib.figure  # noqa: F401 - the plots import it

        import custody_pipeline.defs.assembled  # noqa: F401
        from custody_pipeline.alerts import alerted_reasons
        from custody_pipeline.defs.instance import run_night
        from custody_pipeline.defs.partitions import FIRST_PARTITION
        from custody_pipeline.models.mapping_file import load_mapping
        from custody_pipeline.operations.summary import night_ending

    first = settings.first_night or FIRST_PARTITION
    if night < first:
        raise SettingsError(f"the night of {night} lies before {first}; set CUSTODY_FIRST_NIGHT to an earlier day")
    load_mapping(settings.mapping_path)
    alerted_reasons(settings)
    result = _apart(lambda: run_night(settings, night, verbose=verbose, say=say))
    ending = night_ending(settings, night)
    steps: dict[str, list[str]] = {}
    for step, message in result.failed_steps.items():
        steps.setdefault(message, []).append(step)
    problems = [f"{', '.join(names)}: {message}" for message, names in steps.items()]
    problems += [f"check failed: {check}; {_because(check)}" for check in result.failed_checks]
    problems += ending.problems
    if result.failed_checks:
        status = FINDINGS
    elif not result.success:
        status = INCOMPLETE
    else:
        status = ending.status
    return Outcome(night, result.run_id, status, problems, ending.summary)


def _apart(work: Callable[[], _T]) -> _T:
    """Work in a thread of its own, so that Ctrl-C ends the command: in the main thread, Dagster takes it for itself.

    The next command releases the run that this process leaves. The thread itself takes no Ctrl-C: only the main thread
    can end the wait, and not every system chooses it.
    """
    pool = ThreadPoolExecutor(1, initializer=signal.pthread_sigmask, initargs=(signal.SIG_BLOCK, [signal.SIGINT]))
    try:
        return pool.submit(copy_context().run, work).result()
    finally:
        pool.shutdown(wait=False)


def _because(check: str) -> str:
    if check.startswith("published/"):
        return "what is published is not what was sealed; run the night again, and custody verify"
    return "the night was not published"


@contextmanager
def _kept_from_collector() -> Iterator[None]:
    """Exempt objects imported in this block from cyclic garbage collection. This saves a fifth of a small night."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
