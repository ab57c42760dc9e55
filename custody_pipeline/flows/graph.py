"""A flow as a control-flow graph: which action may run after which.

Belongs here: the graph's parts. Does not: making it from an export (graph_builder.py), or its analysis (writes.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from custody_pipeline.flows.actions import Write
from custody_pipeline.flows.document import Note


@dataclass
class Step:
    """A node. `role` states its purpose; the other fields apply only to some roles.

    Attributes:
        role: `plain`, `call` (of a task), `exit` (of a unit, by path) or `terminal` (a path of the flow ends).
        kind: the action's kind as in the export, empty for a point between actions.
        label: the text in Architect: the action's name, or the branch taken.
        line: of the export, counted from 1.
        unit: index of the menu, task or state that holds it.
        opaque: the callee to which this step hands the call and which may write attributes that are not visible here.
        ending: for a terminal: `disconnect`, `transfer`, `end`, `return` (to the flow that called), `answer`
            (an agent takes it out of the queue), or `unresolved`.
        implicit: for a terminal: Architect's own ending, without an action.
        queue: for a transfer to ACD: the queue's name, empty if an expression decides it, None if there is none.
        goes_on_in: for a terminal: the flow that continues the conversation and may put tags, in words.
        callee, returns: for a call: the task, and the step after it for each of the task's paths.
    """

    role: str
    kind: str
    label: str
    line: int
    unit: int
    writes: tuple[Write, ...] = ()
    opaque: str | None = None
    ending: str = ""
    implicit: bool = False
    queue: str | None = None
    goes_on_in: str = ""
    callee: int = -1
    returns: dict[str, int] = field(default_factory=dict)
    successors: list[int] = field(default_factory=list)


@dataclass
class Unit:
    """A menu, task, state or bot, or the in-queue flow's start. `entry` and `exits` are steps."""

    kind: str
    name: str
    line: int
    entry: int = -1
    exits: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else self.kind


@dataclass
class FlowGraph:
    """The whole flow.

    Attributes:
        handler: the unit that an error jumps to, if it does.
        problems: parts of the export that the analysis could not follow.
        assumed: edges that may not exist, from step to step, with the reason for assuming them.
    """

    steps: list[Step]
    units: list[Unit]
    start: int
    handler: int | None
    problems: list[Note]
    assumed: dict[tuple[int, int], Note] = field(default_factory=dict)

    def without_assumed(self) -> FlowGraph:
        """The same flow with only the edges that are known to exist."""
        steps = [
            replace(step, successors=[there for there in step.successors if (index, there) not in self.assumed])
            for index, step in enumerate(self.steps)
        ]
        return replace(self, steps=steps, assumed={})
