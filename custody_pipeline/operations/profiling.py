"""The profile of a night: a sampler of seconds, memory and progress, and the profile made from its samples.

Belongs here: sampling this process, a profile's content, table, picture and files. Does not: the steps of a night
(defs/run_profile.py reads them from the run's events).
"""

from __future__ import annotations

import bisect
import io
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Self

import orjson
import psutil
from rich import filesize
from rich.console import Console
from rich.table import Table

from custody_pipeline.io.progress import listening

SAMPLE_SECONDS = 0.05
# Parts of a stage are shown if they take at least this share of the night; the file has all of them.
SHOWN_SHARE = 0.02
# This stage is not one period, but the sum of the times between the steps.
BETWEEN = "between steps"

_WIDTH = 80


@dataclass(frozen=True)
class Part:
    """A part of a stage: an asset, or a phase of the work that reported its progress. As in `Stage`."""

    name: str
    started: float
    seconds: float


@dataclass(frozen=True)
class Stage:
    """A step of the night, or Dagster's own work before, between and after the steps.

    Attributes:
        name: the step's, or `start` (imports, the instance), `between steps`, `end` (counting what was found).
        started: seconds after the night began.
        seconds: duration, including retries and the pauses before them.
        cpu_seconds: of all threads; far fewer than `seconds` means waiting.
        peak_memory: bytes of this process, including what earlier stages left.
        rows, bytes: landed, modelled or published; None if that does not apply.
        requests, retries: to the API and to S3, as the receipts count them.
        parts: the parts of its time, in order.
    """

    name: str
    started: float
    seconds: float
    cpu_seconds: float
    peak_memory: int
    rows: int | None = None
    bytes: int | None = None
    requests: int | None = None
    retries: int | None = None
    attempts: int = 1
    assets: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()


def usage_of_this_process() -> tuple[float, int, float]:
    """Seconds since the epoch, bytes in memory, and CPU seconds of all threads since the process began."""
    return time.time(), psutil.Process().memory_info().rss, time.process_time()


class Sampler:
    """Samples memory and CPU seconds of this process, and records the progress of its work, until the block ends.

    Times are seconds since the epoch, as in Dagster's events.

    Args:
        usage: tells the moment, the bytes in memory, and the CPU seconds of all threads up to now.
    """

    def __init__(self, usage: Callable[[], tuple[float, int, float]] = usage_of_this_process) -> None:
        self._times, self._memory, self._cpu = array("d"), array("q"), array("d")
        self._phases: dict[str, list[float]] = {}
        self._usage = usage
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="profile", daemon=True)
        self._listening: AbstractContextManager[None] = listening(self._hear)
        self.started = self.ended = 0.0

    def __enter__(self) -> Self:
        self._sample()
        self.started = self._times[0]
        self._listening.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stop.set()
        self._thread.join()
        self._listening.__exit__(*exception)
        self._sample()
        self.ended = self._times[-1]

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        moment, memory, cpu = self._usage()
        self._times.append(moment)
        self._memory.append(memory)
        self._cpu.append(cpu)

    def _hear(self, what: str, done: int, total: int | None) -> None:
        del done, total
        now = time.time()
        self._phases.setdefault(what, [now, now])[1] = now

    def phases(self) -> list[Part]:
        """The phases that reported progress, each from its first report to its last, in order."""
        return [self.part(name, *moments) for name, moments in self._phases.items()]

    def part(self, name: str, started: float, ended: float) -> Part:
        """The part between two times."""
        return Part(name, started - self.started, ended - started)

    def stage(self, name: str, started: float, ended: float, **more: Any) -> Stage:
        """The stage between two times, with the CPU seconds of all threads and the peak memory."""
        first, last = bisect.bisect_left(self._times, started), bisect.bisect_left(self._times, ended)
        cpu = self._cpu[min(last, len(self._cpu) - 1)] - self._cpu[min(first, len(self._cpu) - 1)]
        # The samples around the two moments belong to them as well.
        before = max(bisect.bisect_right(self._times, started) - 1, 0)
        peak = max(self._memory[before : last + 1])
        return Stage(name, started - self.started, ended - started, cpu, peak, **more)

    def memory(self, points: int = 1_000) -> Iterator[tuple[float, int]]:
        """(seconds after the night began, bytes) at about `points` times."""
        step = max(1, len(self._times) // points)
        for at in range(0, len(self._times), step):
            yield self._times[at] - self.started, max(self._memory[at : at + step])


@dataclass(frozen=True)
class Profile:
    """One night's run by stages; `memory` is a line of (seconds after the night began, bytes)."""

    night: date
    run_id: str
    began: str
    seconds: float
    cpu_seconds: float
    peak_memory: int
    stages: tuple[Stage, ...]
    memory: tuple[tuple[float, int], ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The profile as JSON types."""
        return {**asdict(self), "night": self.night.isoformat()}

    def table(self) -> str:
        """The stages as text, at most 80 columns wide."""
        table = Table("stage", box=None, pad_edge=False, padding=(0, 0, 0, 1), width=_WIDTH)
        for title in ("seconds", "cpu", "memory", "rows", "bytes", "requests"):
            table.add_column(title, justify="right", no_wrap=True)
        table.columns[0].no_wrap = True
        whole = Stage("the night", 0.0, self.seconds, self.cpu_seconds, self.peak_memory)
        for stage in (*self.stages, whole):
            table.add_row(*_cells(stage))
            for part in stage.parts:
                if part.seconds >= SHOWN_SHARE * self.seconds:
                    table.add_row(f"  {part.name}", _seconds(part.seconds))
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, markup=False)
        with console.capture() as captured:
            console.print(table)
        lines = [line.rstrip() for line in captured.get().splitlines()]
        if any(stage.retries for stage in self.stages):
            lines.append("requests +n: n of them repeat an earlier one")
        return "\n".join(lines)

    def picture(self) -> bytes:
        """The timeline as a PNG: stages as bars, the process's memory below."""
        from matplotlib.figure import Figure

        stages = [stage for stage in self.stages if stage.name != BETWEEN]
        figure = Figure(figsize=(9, 1.6 + 0.24 * len(stages)), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[len(stages), 4])
        for at, stage in enumerate(stages):
            above.barh(at, stage.seconds, left=stage.started, color="#90a4ae", height=0.7)
            above.barh(at, min(stage.cpu_seconds, stage.seconds), left=stage.started, color="#37474f", height=0.7)
        above.set_yticks(range(len(stages)), [f"{stage.name}  {stage.seconds:.1f} s" for stage in stages])
        above.invert_yaxis()
        above.set_title(f"Night of {self.night}: seconds by stage, dark: CPU", fontsize=10, loc="left")
        below.fill_between(*zip(*self.memory, strict=True), color="#90a4ae")
        below.set_ylabel("memory")
        below.set_xlabel("seconds")
        below.yaxis.set_major_formatter(lambda value, _: filesize.decimal(int(value)))
        for axes in (above, below):
            axes.spines[["top", "right"]].set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=96)
        return buffer.getvalue()

    def write(self, home: Path) -> Path:
        """Write `profiles/date=…/<when it began>.json` below `home`, with `.txt` and `.png` beside it.

        Returns:
            The path of the JSON file.
        """
        folder = home / "profiles" / f"date={self.night}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.began.replace('-', '').replace(':', '')}.json"
        path.write_bytes(orjson.dumps(self.to_dict()) + b"\n")
        path.with_suffix(".txt").write_text(self.table() + "\n", encoding="utf-8")
        path.with_suffix(".png").write_bytes(self.picture())
        return path


def _cells(stage: Stage) -> Iterable[str]:
    yield stage.name if stage.attempts == 1 else f"{stage.name} ({stage.attempts} attempts)"
    yield _seconds(stage.seconds)
    yield _seconds(stage.cpu_seconds)
    yield filesize.decimal(stage.peak_memory)
    yield "" if stage.rows is None else f"{stage.rows:,}"
    yield "" if stage.bytes is None else filesize.decimal(stage.bytes)
    yield (f"{stage.requests:,}" if stage.requests else "") + (f" +{stage.retries}" if stage.retries else "")


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 1_000 else f"{seconds:.0f}"
