"""Which tags are surely, and which are perhaps, written when a path of a flow ends.

Belongs here: the data-flow analysis on `FlowGraph`, with tags as bits. Does not: which tags matter where
(flow_check.py).

A forward analysis with two lattices over the same graph. *Must*: a tag's bit survives a junction only if every incoming
edge has it. *May*: if any has it. Paths are never listed, so loops and a hundred decisions in a row cost nothing more.
A called task is summarised once per outgoing path, as a function from the state at its entry to the state at its exit.
Each call uses the summary (Sharir and Pnueli's functional approach). Recursion ends at a fixed point.

On single bits such functions are constant or the identity, so a summary is two bit masks: the state at the exit if
nothing holds at the entry (`low`), and if everything holds there (`high`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from custody_pipeline.flows.actions import Write
from custody_pipeline.flows.graph import FlowGraph

_At = tuple[int, bool]  # a step, and whether it is inside a called task


class Held(NamedTuple):
    """The state at a step, as bit masks: `low` and `high` for must (see above), `may` for may."""

    low: int
    high: int
    may: int

    def meet(self, other: Held) -> Held:
        """The state after a junction of two paths."""
        return Held(self.low & other.low, self.high & other.high, self.may | other.may)

    def then(self, summary: Held) -> Held:
        """The state after a called task that was entered with this state."""
        return Held(
            summary.low | (summary.high & self.low), summary.low | (summary.high & self.high), self.may | summary.may
        )


@dataclass(frozen=True)
class Bits:
    """The bits of writes: the mask of a write's tags. Opaque sites have their own bits above those of the tags."""

    tags_of: Callable[[Write], int]
    opaque_of: dict[int, int]
    width: int

    @property
    def everything(self) -> int:
        """All bits set."""
        return (1 << self.width) - 1


@dataclass(frozen=True)
class Reached:
    """The state where a path ends, as masks: `sure` on every path to it, `may` on at least one."""

    step: int
    sure: int
    may: int


@dataclass(frozen=True)
class Result:
    """The ends that can be reached, in the file's order; steps no path reaches; ends reached only after an error."""

    ends: tuple[Reached, ...]
    after_error: tuple[Reached, ...]
    unreached: frozenset[int]


class Analysis:
    """The fixed point for one graph and one set of tags."""

    def __init__(self, graph: FlowGraph, bits: Bits):
        self.graph, self.bits = graph, bits
        self._effects = [self._effect(index) for index in range(len(graph.steps))]
        self._summaries: dict[int, dict[str, Held]] = {}
        self._summarise()

    def result(self) -> Result:
        """The ends of paths, and the state there."""
        normal = self._run(self.graph.start, Held(0, 0, 0))
        seen = {step for step, _ in normal}
        errors: dict[_At, Held] = {}
        handler = self.graph.handler
        if handler is not None and self.graph.units[handler].entry not in seen:
            # An error may occur anywhere, so nothing is sure and everything is possible.
            errors = self._run(self.graph.units[handler].entry, Held(0, 0, self.bits.everything))
            errors = {at: held for at, held in errors.items() if at[0] not in seen}
        reached = seen | {step for step, _ in errors}
        unreached = frozenset(range(len(self.graph.steps))) - reached
        return Result(self._ends(normal), self._ends(errors), unreached)

    def trails(self, bit: int) -> dict[int, list[int]]:
        """For each end that some path reaches without `bit`: the steps of a shortest such path. 0 asks for any path."""
        begin = (self.graph.start, False)
        came_from: dict[_At, _At | None] = {begin: None}
        queue = deque([begin])
        while queue:
            at = queue.popleft()
            if self._effects[at[0]][0] & bit:
                continue
            for following, summary in self._edges(at):
                if following not in came_from and not (summary and summary.low & bit):
                    came_from[following] = at
                    queue.append(following)
        trails: dict[int, list[int]] = {}
        for at in came_from:
            step, called = at
            if self._is_end(step, called=called) and step not in trails:
                trail: list[int] = []
                here: _At | None = at
                while here is not None:
                    trail.append(here[0])
                    here = came_from[here]
                trails[step] = trail[::-1]
        return trails

    def _edges(self, at: _At, *, into_calls: bool = True) -> Iterator[tuple[_At, Held | None]]:
        """The steps that may run next; for one after a called task, also the summary of the task."""
        index, called = at
        step = self.graph.steps[index]
        for successor in step.successors:
            yield (successor, called), None
        if step.role == "call":
            if into_calls:
                yield (self.graph.units[step.callee].entry, True), None
            for path, summary in self._summaries[step.callee].items():
                yield (step.returns.get(path, step.returns[""]), called), summary

    def _effect(self, index: int) -> tuple[int, int, int]:
        """Masks of one step: bits that it sets, keeps, and perhaps adds."""
        step = self.graph.steps[index]
        sets, keeps = 0, self.bits.everything
        for write in step.writes:
            mask = self.bits.tags_of(write)
            if write.clears:
                sets, keeps = sets & ~mask, keeps & ~mask
            else:
                sets, keeps = sets | mask, keeps | mask
        return sets, keeps, sets | self.bits.opaque_of.get(index, 0)

    def _behind(self, index: int, held: Held) -> Held:
        sets, keeps, adds = self._effects[index]
        return Held((held.low & keeps) | sets, (held.high & keeps) | sets, held.may | adds)

    def _summarise(self) -> None:
        """Summaries of the called tasks, until none changes. A task without a summary never returns."""
        callers: dict[int, set[int]] = {}
        called = {step.callee for step in self.graph.steps if step.role == "call"}
        self._summaries = {unit: {} for unit in called}
        waiting = deque(sorted(called))
        while waiting:
            unit = waiting.popleft()
            summary: dict[str, Held] = {}
            entry = self.graph.units[unit].entry
            within = self._run(entry, Held(0, self.bits.everything, 0), follow_calls=False)
            for (index, _), held in within.items():
                step = self.graph.steps[index]
                if step.role == "call":
                    callers.setdefault(step.callee, set()).add(unit)
                elif step.role == "exit":
                    path = step.label
                    summary[path] = summary[path].meet(held) if path in summary else held
            if summary != self._summaries[unit]:
                self._summaries[unit] = summary
                waiting.extend(caller for caller in sorted(callers.get(unit, ())) if caller not in waiting)

    def _run(self, start: int, held: Held, *, follow_calls: bool = True) -> dict[_At, Held]:
        """The state before each (step, inside a called task?) that can be reached from `start`."""
        state: dict[_At, Held] = {(start, False): held}
        waiting = deque([(start, False)])
        queued = {(start, False)}
        while waiting:
            at = waiting.popleft()
            queued.discard(at)
            behind = self._behind(at[0], state[at])
            for following, summary in self._edges(at, into_calls=follow_calls):
                value = behind.then(summary) if summary else behind
                known = state.get(following)
                merged = value if known is None else known.meet(value)
                if merged != known:
                    state[following] = merged
                    if following not in queued:
                        queued.add(following)
                        waiting.append(following)
        return state

    def _is_end(self, index: int, *, called: bool) -> bool:
        role = self.graph.steps[index].role
        # A task's end is the path's end only if the task was not called.
        return role == "terminal" or (role == "exit" and not called)

    def _ends(self, state: dict[_At, Held]) -> tuple[Reached, ...]:
        ends: dict[int, Held] = {}
        for (index, called), held in state.items():
            if self._is_end(index, called=called):
                ends[index] = ends[index].meet(held) if index in ends else held
        order = sorted(ends, key=lambda index: (self.graph.steps[index].line, index))
        return tuple(Reached(index, ends[index].low, ends[index].may) for index in order)
