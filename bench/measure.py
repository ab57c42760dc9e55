"""Stages, and how they are measured: each contender in a process of its own, by turns, medians.

Belongs here: the vocabulary of stages and the runner. Does not: what any stage does.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

# Given an empty folder, gets ready and returns what is timed. Pickled: a module's function, or a partial of one.
# What the timed call returns counts only if it is `Apart`, or in stages whose unit is not seconds: there it is the
# measurement.
Contender = Callable[[Path], Callable[[], object]]


class Apart(dict[str, float]):
    """Seconds of the timed call, by name, that are no part of the stage: each has a line of its own."""


_MIB = 1024.0

ENOUGH_SECONDS = 15.0
"""After rounds that took so long together, a stage has no further one."""


@dataclass(frozen=True)
class Prepared:
    """A stage at one size, ready to be measured.

    Attributes:
        ours: the product.
        floor: the same work with nothing around it.
        same: called with ours' and the floor's folder of the first round; raises AssertionError if results differ.
        rows: what the work is about: documents, rows, objects.
        bytes: size of what is read or written, by which the two can be compared with other machines.
        peers: others doing the same, by name.
    """

    ours: Contender
    floor: Contender
    same: Callable[[Path, Path], None]
    rows: int
    bytes: int = 0
    peers: Mapping[str, Contender] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A line of the table.

    Attributes:
        name: as in `--stage`.
        ours: what is measured, in a line.
        floor: what it is compared with, in a line.
        prepare: (size, empty folder) → a context manager around `Prepared`.
        sizes: the sizes at which it makes sense; every size asked for if empty.
        goals: size → the ratio aimed at.
        seconds: of ours, that the goal allows besides; without goals, the most seconds aimed at.
        unit: of the measurement: `s`, or what the timed call returns and counts.
    """

    name: str
    ours: str
    floor: str
    prepare: Callable[[int, Path], AbstractContextManager[Prepared]]
    sizes: tuple[int, ...] = ()
    goals: Mapping[int, float] = field(default_factory=dict)
    seconds: float | None = None
    unit: str = "s"


class Row(NamedTuple):
    """One line: `ours` and `floor` are medians in `unit`, memory is the growth of resident memory to its peak in MiB.

    The goal is `goal` times the floor and `seconds` besides. `growth` is the cost of a row at this size by that of a
    row at the size before: 1 is flat.
    """

    stage: str
    size: int
    unit: str
    ours: float
    floor: float
    ratio: float
    goal: float | None
    seconds: float | None
    ours_mib: float
    floor_mib: float
    growth: float | None
    rows: int
    bytes: int
    rounds: int
    spread: float


def measure(stage: Stage, size: int, rounds: int, folder: Path) -> list[Row]:
    """Measure one stage at one size: its own row first, then one for each thing measured apart, and one per peer.

    Raises:
        AssertionError: ours and the floor do not give the same.
        RuntimeError: a contender's process failed; its traceback is on stderr.
    """
    with stage.prepare(size, folder / "prepared") as prepared:
        contenders = {"ours": prepared.ours, "floor": prepared.floor, **prepared.peers}
        found: dict[str, list[_Measured]] = {name: [] for name in contenders}
        if stage.unit != "s":
            rounds = 1  # what is counted does not vary
        begun = time.monotonic()
        for number in range(rounds):
            if time.monotonic() - begun > ENOUGH_SECONDS:
                break
            # By turns, and the other way round every second time: nobody always comes first.
            for name in list(contenders)[:: -1 if number % 2 else 1]:
                place = folder / f"{name}-{number}".replace(" ", "-")
                place.mkdir()
                found[name].append(_in_a_process(contenders[name], place, stage.unit))
                if number:
                    shutil.rmtree(place)
            if not number:
                prepared.same(folder / "ours-0", folder / "floor-0")
                for name in contenders:
                    shutil.rmtree(folder / f"{name}-0".replace(" ", "-"))
        floor = found["floor"]
        rows = [_row(stage, stage.name, size, prepared, found["ours"], floor)]
        for name in found["ours"][0].apart:
            ours_apart, floor_apart = (
                [one._replace(value=one.apart[name]) for one in found[who]] for who in ("ours", "floor")
            )
            rows.append(
                _row(
                    replace(stage, goals={}, seconds=None),
                    f"{stage.name}: {name}",
                    size,
                    prepared,
                    ours_apart,
                    floor_apart,
                )
            )
        for peer in prepared.peers:
            rows.append(
                _row(
                    replace(stage, goals={}, seconds=None), f"{stage.name}: {peer}", size, prepared, found[peer], floor
                )
            )
        return rows


def _row(stage: Stage, label: str, size: int, prepared: Prepared, ours: list[_Measured], floor: list[_Measured]) -> Row:
    a, b = (statistics.median(one.value for one in measured) for measured in (ours, floor))
    return Row(
        stage=label,
        size=size,
        unit=stage.unit,
        ours=round(a, 3),
        floor=round(b, 3),
        ratio=round(a / b, 2),
        goal=stage.goals.get(size),
        seconds=stage.seconds if size in stage.goals or not stage.goals else None,
        ours_mib=round(statistics.median(one.mib for one in ours), 1),
        floor_mib=round(statistics.median(one.mib for one in floor), 1),
        growth=None,
        rows=prepared.rows,
        bytes=prepared.bytes,
        rounds=len(ours),
        spread=round((max(one.value for one in ours) - min(one.value for one in ours)) / a, 2),
    )


def with_growth(rows: list[Row]) -> list[Row]:
    """The rows with the growth from each size to the next filled in."""
    before: dict[str, Row] = {}
    grown = []
    for row in rows:
        smaller = before.get(row.stage)
        if smaller is not None and smaller.ours and row.rows:
            row = row._replace(growth=round(row.ours / row.rows / (smaller.ours / smaller.rows), 2))
        before[row.stage] = row
        grown.append(row)
    return grown


# --- one contender, one process --------------------------------------------------------------------------------------


class _Measured(NamedTuple):
    value: float
    mib: float
    apart: dict[str, float]


# Forked from a process that has imported everything and done nothing: nobody pays for imports, or inherits a heap.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["bench.measure", "bench.stages"])
# DuckDB takes a process whose main module has no file for a notebook, and draws its progress there.
vars(sys.modules["__main__"]).setdefault("__file__", __file__)


def _in_a_process(contender: Contender, folder: Path, unit: str) -> _Measured:
    receive, send = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_measured, args=(contender, folder, unit, send))
    process.start()
    send.close()
    try:
        return _Measured(*receive.recv())
    except EOFError as error:
        process.join()
        name = getattr(contender, "func", contender).__qualname__
        raise RuntimeError(f"{name} ended with status {process.exitcode} before it was done") from error
    finally:
        process.join()
        receive.close()


def _measured(contender: Contender, folder: Path, unit: str, send: Connection) -> None:
    before = _resident("VmRSS")
    work = contender(folder)
    _forget_peak()
    started = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - started
    apart = dict(found) if isinstance(found, Apart) else {}
    value = seconds - sum(apart.values()) if unit == "s" else float(found)  # type: ignore[arg-type]
    send.send((value, (_resident("VmHWM") - before) / _MIB, apart))
    send.close()
    # Threads of pools that nobody closed must not keep the process.
    os._exit(0)


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _resident(field_name: str) -> int:
    """KiB of resident memory: now (VmRSS), or at its peak (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field_name}:"):
            return int(line.split()[1])
    raise RuntimeError(f"the kernel does not tell {field_name}")


# --- the table -------------------------------------------------------------------------------------------------------


def table(rows: list[Row]) -> Iterator[str]:
    """The rows as lines of at most 100 characters."""
    head = ("stage", "size", "ours", "floor", "", "ratio", "goal", "ours MiB", "floor MiB", "growth", "MB")
    form = "{:<23}{:>11}{:>8}{:>8}{:>2}{:>7}{:>9}{:>9}{:>10}{:>7}{:>6}"
    yield form.format(*head)
    for row in rows:
        yield form.format(
            row.stage[:23],
            f"{row.size:,}",
            _short(row.ours),
            _short(row.floor),
            row.unit[:1],
            f"{row.ratio:.2f}",
            _goal(row),
            f"{row.ours_mib:,.0f}" if row.unit == "s" else "",
            f"{row.floor_mib:,.0f}" if row.unit == "s" else "",
            "" if row.growth is None else f"{row.growth:.2f}",
            f"{row.bytes / 1e6:,.0f}",
        )


def missed(rows: list[Row]) -> Iterator[str]:
    """What missed its goal, a line each."""
    for row in rows:
        if (row.goal, row.seconds) == (None, None):
            continue
        if row.ours > (row.goal or 0) * row.floor + (row.seconds or 0):
            took = f"{_short(row.ours)} {row.unit}, {row.ratio:.2f} of the floor"
            yield f"{row.stage} {row.size:,}: {took}; the goal is {_goal(row)}."


def _goal(row: Row) -> str:
    parts = ("" if row.goal is None else f"{row.goal:g}", "" if row.seconds is None else f"{row.seconds:g} s")
    return "+".join(filter(None, parts))


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 10 else f"{value:.1f}"
