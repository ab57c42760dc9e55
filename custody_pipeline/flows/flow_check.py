"""A flow and a mapping → a report: which mapped tag is missing at which end.

Belongs here: which tags concern a flow and an end, and findings as data. Does not: text for people (report.py), the
analysis (writes.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from custody_pipeline.flows.actions import Write
from custody_pipeline.flows.document import FlowDocument, Note
from custody_pipeline.flows.graph import FlowGraph, Step
from custody_pipeline.flows.graph_builder import build_graph
from custody_pipeline.flows.report import FlowEnd, FlowReport, Trail
from custody_pipeline.flows.variables import unsaved_variables
from custody_pipeline.flows.writes import Analysis, Bits, Reached
from custody_pipeline.models.mapping import MappedTag, plain, without_prefix

# Participants whose attributes come from agents' scripts, never from a flow.
_SCRIPTED = frozenset({"agent", "user", "station"})


def check_flow(document: FlowDocument, tags: Iterable[MappedTag]) -> FlowReport:
    """For every end of a flow: which mapped tags are surely, perhaps, or never in participant data by then.

    A tag counts as put under exactly its attribute's name or an alias; nearly equal names are reported. Tags that only
    agents' scripts set, and tags that apply to other flows, are named as not checked.

    Args:
        tags: the mapping's columns (`TagMapping.columns`).

    Raises:
        FlowError: the flow has no start.
    """
    return _Check(document, build_graph(document), list(tags)).report()


class _Check:
    def __init__(self, document: FlowDocument, graph: FlowGraph, tags: list[MappedTag]):
        self.document, self.graph = document, graph
        self.written = [write for step in graph.steps for write in step.writes]
        self.left_out: dict[str, str] = {}
        self.tags: list[MappedTag] = []
        for tag in tags:
            if reason := self._reason_to_leave_out(tag):
                self.left_out.setdefault(tag.attribute, reason)
            elif tag.attribute not in {known.attribute for known in self.tags}:
                self.tags.append(tag)
        self.positions: dict[str, int] = {}
        for position, tag in enumerate(self.tags):
            for name in tag.names:
                self.positions[name] = self.positions.get(name, 0) | 1 << position
        self.opaque = [
            index
            for index, step in enumerate(graph.steps)
            if step.opaque or any(write.name is None and not write.clears for write in step.writes)
        ]
        opaque_of = {index: 1 << (len(self.tags) + number) for number, index in enumerate(self.opaque)}
        width = len(self.tags) + len(self.opaque)
        bits = Bits(self._tags_of, opaque_of, width)
        self.analysis = Analysis(graph, bits)
        # The state at each end if no assumed path exists.
        known = Analysis(graph.without_assumed(), bits).result().ends if graph.assumed else ()
        self.known = {reached.step: reached.sure for reached in known}
        self.doubtful: set[Note] = set()

    def report(self) -> FlowReport:
        result = self.analysis.result()
        ends = [self._end(reached) for reached in result.ends]
        self._add_trails(result.ends, ends)
        return FlowReport(
            source=self.document.source,
            flow_type=self.document.kind,
            flow_name=self.document.name,
            checked=tuple(tag.attribute for tag in self.tags),
            required=tuple(tag.attribute for tag in self.tags if tag.required),
            not_checked=self.left_out,
            ends=tuple(ends),
            ends_after_error=tuple(self._end(reached) for reached in result.after_error),
            hints=tuple(self._hints()),
            notes=tuple(self._notes()),
            problems=(
                *self.graph.problems,
                *sorted(self.doubtful, key=lambda note: note.line),
            ),
            unreachable=tuple(self._unreachable(result.unreached)),
        )

    def _reason_to_leave_out(self, tag: MappedTag) -> str:
        if any(write.name in tag.names for write in self.written):
            return ""
        if tag.purposes and _SCRIPTED.issuperset(tag.purposes):
            return "set by agents' scripts"
        if tag.flows and not tag.queues and self.document.name not in tag.flows:
            return f"applies to the flows {', '.join(tag.flows)}"
        if tag.scripts and not tag.flows and not tag.queues:
            return "applies to calls with certain scripts"
        return ""

    def _applies(self, tag: MappedTag, end: Step) -> bool:
        if not tag.queues or self.document.name in tag.flows or self.document.kind.startswith("inqueue"):
            return True
        # An expression may choose any queue.
        return end.queue is not None and end.queue in {"", *tag.queues}

    def _tags_of(self, write: Write) -> int:
        return self.positions.get(write.name, 0) if write.name is not None else 0

    def _end(self, reached: Reached) -> FlowEnd:
        step = self.graph.steps[reached.step]
        answers: dict[str, list[str]] = {"sure": [], "maybe": [], "unknown": [], "never": []}
        sites = [
            Note(self.graph.steps[index].line, f"{self._opaque_text(self.graph.steps[index])} may put them")
            for number, index in enumerate(self.opaque)
            if reached.may >> (len(self.tags) + number) & 1
        ]
        if elsewhere := "the flow that calls this module" if step.ending == "return" else step.goes_on_in:
            sites.append(Note(step.line, f"{elsewhere} may put them: check it"))
        doubts: list[Note] = []
        for position, tag in enumerate(self.tags):
            if not self._applies(tag, step):
                continue
            sure, may = reached.sure >> position & 1, reached.may >> position & 1
            answer = "sure" if sure else "maybe" if may else "unknown" if sites else "never"
            if not sure and elsewhere:
                answer = "unknown"
            elif not sure and self._rests_on_assumptions(reached, position):
                answer = "unknown"
                doubts = list(self.graph.assumed.values())
            answers[answer].append(tag.attribute)
        self.doubtful.update(doubts)
        sites += doubts
        return FlowEnd(
            ending=step.ending,
            action=step.kind,
            name=step.label if step.role == "terminal" else "",
            place=str(self.graph.units[step.unit]),
            line=step.line,
            implicit=step.implicit,
            queue=step.queue or None,
            unseen=tuple(sites) if answers["unknown"] or answers["maybe"] else (),
            sure=tuple(answers["sure"]),
            maybe=tuple(answers["maybe"]),
            unknown=tuple(answers["unknown"]),
            never=tuple(answers["never"]),
        )

    def _rests_on_assumptions(self, reached: Reached, position: int) -> bool:
        """Whether a tag is missed only on assumed paths."""
        if not self.graph.assumed:
            return False
        return bool(self.known.get(reached.step, -1) >> position & 1)

    def _opaque_text(self, step: Step) -> str:
        return step.opaque or f"{step.kind} {step.label!r} (an expression decides the attribute's name)"

    def _add_trails(self, reached: tuple[Reached, ...], ends: list[FlowEnd]) -> None:
        """One shortest path for each end and set of missed tags: tags that are missed on the same path share it."""
        found: list[dict[tuple[str, ...], list[str]]] = [{} for _ in ends]
        # No path puts the tags that are never put, so any shortest path serves for all of them.
        shortest = self.analysis.trails(0)
        for number, (end, at) in enumerate(zip(ends, reached, strict=True)):
            if lost := [*end.never, *end.unknown]:
                found[number][self._way(shortest[at.step])] = lost
        for position, tag in enumerate(self.tags):
            partly = [number for number, end in enumerate(ends) if tag.attribute in end.maybe]
            trails = self.analysis.trails(1 << position) if partly else {}
            for number in partly:
                if (step := reached[number].step) in trails:
                    found[number].setdefault(self._way(trails[step]), []).append(tag.attribute)
        for number, ways in enumerate(found):
            trails_of_end = tuple(Trail(tuple(tags), way) for way, tags in ways.items())
            ends[number] = replace(ends[number], trails=trails_of_end)

    def _way(self, steps: list[int]) -> tuple[str, ...]:
        """The turns of a path: units entered, choices and outputs taken, tasks called."""
        entries = {unit.entry for unit in self.graph.units}
        way: list[str] = []
        action = ""
        for index in steps:
            step = self.graph.steps[index]
            if index in entries:
                way.append(step.label)
            elif step.kind:
                action = step.label
            elif step.label:
                way.append(f"{action}: {step.label}" if action else step.label)
                action = ""
        return tuple(way)

    def _hints(self) -> Iterator[Note]:
        mapped = {plain(name): tag.attribute for tag in self.tags for name in tag.names}
        exact = set(self.positions)
        reported: set[str] = set()
        for write in self.written:
            if write.name is None or write.name in exact or write.name in reported:
                continue
            reported.add(write.name)
            if meant := mapped.get(plain(without_prefix(write.name))):
                text = f"puts {write.name!r}, the mapping expects {meant!r}: rename one, or add an alias to the mapping"
                yield Note(write.line, text)
        for variable in unsaved_variables(self.document):
            # A template's placeholder has no scope before a dot.
            short = plain(variable.text.partition(".")[2] or variable.text)
            meant = next((tag for name, tag in mapped.items() if name and (name in short or short == name)), None)
            which = f" with the name {meant!r}" if meant else ""
            text = (
                f"{variable.text} is set with Update Data and never put into participant data, so it ends with the "
                f"flow; where it is needed as a tag, add Set Participant Data{which}"
            )
            yield Note(variable.line, text)

    def _notes(self) -> Iterator[Note]:
        for placeholder in self.document.placeholders:
            yield Note(placeholder.line, f"{placeholder.text} is not filled in; it was read as a text of this name")
        handling = self.document.body.mapping("settingsErrorHandling", "errorHandling")
        for action in handling.fields if handling else ():
            text = f"on an error the flow goes to its handling ({action}) from wherever it is, with the tags put so far"
            yield Note(handling.line if handling else 0, text)

    def _unreachable(self, unreached: frozenset[int]) -> Iterator[Note]:
        lost = {index for index, unit in enumerate(self.graph.units) if unit.entry in unreached}
        for index in sorted(lost):
            yield Note(self.graph.units[index].line, str(self.graph.units[index]))
        for index in sorted(unreached):
            step = self.graph.steps[index]
            if step.kind and not step.implicit and step.unit not in lost:
                yield Note(step.line, f"{step.kind} {step.label!r} in {self.graph.units[step.unit]}")
