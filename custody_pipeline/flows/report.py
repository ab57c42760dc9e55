"""The report of a flow check: as data, as JSON, and as text for a terminal.

Belongs here: the report's form, its exit status, its text. Does not: the check (flow_check.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from custody_pipeline.flows.document import Note

MAX_TURNS = 14


@dataclass(frozen=True)
class Trail:
    """A shortest path to an end on which `tags` are not put: its turns, first to last."""

    tags: tuple[str, ...]
    turns: tuple[str, ...]


@dataclass(frozen=True)
class FlowEnd:
    """Where a path ends, and each tag's standing there. Tags are named by their attribute.

    Attributes:
        ending: `disconnect`, `transfer`, `end` (leaves the flow), `return` (of a common module), `answer` (an agent
            takes the conversation out of the queue) or `unresolved` (leads out of the file).
        action, name: the action's kind and its name in Architect; empty for Architect's own endings.
        place: the menu, task or state.
        implicit: there is no action: a task's end, a menu without an answer.
        queue: a transfer's queue, when the export names it.
        sure: put on every path that leads here.
        unknown: put on no visible path, but `unseen` actions before may put it.
    """

    ending: str
    action: str
    name: str
    place: str
    line: int
    implicit: bool
    queue: str | None
    unseen: tuple[Note, ...]
    sure: tuple[str, ...]
    maybe: tuple[str, ...]
    unknown: tuple[str, ...]
    never: tuple[str, ...]
    trails: tuple[Trail, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Every tag that applies here is surely put."""
        return not (self.maybe or self.unknown or self.never)


@dataclass(frozen=True)
class FlowReport:
    """One flow against one mapping.

    Attributes:
        checked: the tags looked for; `required` are those among them that the mapping requires.
        not_checked: other tags of the mapping, and why.
        ends: in the file's order; `ends_after_error` are reached only through the flow's error handling.
        hints: proposed changes: variables never saved, names that are nearly right.
        notes: points that the analysis leaves to the reader.
        problems: parts that the analysis could not follow.
    """

    source: str
    flow_type: str
    flow_name: str
    checked: tuple[str, ...]
    required: tuple[str, ...]
    not_checked: dict[str, str]
    ends: tuple[FlowEnd, ...]
    ends_after_error: tuple[FlowEnd, ...]
    hints: tuple[Note, ...]
    notes: tuple[Note, ...]
    problems: tuple[Note, ...]
    unreachable: tuple[Note, ...]

    @property
    def exit_status(self) -> int:
        """0: every checked tag is put before every end; 1: some are not; 2: none is missing, but not all was seen."""
        if any(end.never or end.maybe for end in self.ends):
            return 1
        if self.problems or not self.checked or not self.ends or any(end.unknown for end in self.ends):
            return 2
        return 0

    def to_dict(self) -> dict[str, Any]:
        """The report for `--json`: plain lists and dicts, with `exit_status`."""
        return {**asdict(self), "exit_status": self.exit_status}


def render(report: FlowReport) -> str:
    """The report as text, ready to print."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: FlowReport) -> Iterator[str]:
    yield f"Flow {report.flow_name!r} ({report.flow_type}), {report.source}"
    yield f"Checked:      {_tags(report.checked, report) or 'no tag: none of the mapping concerns this flow'}"
    if report.not_checked:
        yield "Not checked:  " + ", ".join(f"{tag} ({reason})" for tag, reason in report.not_checked.items())
    if report.required:
        yield "              * required by the mapping"
    yield ""
    if not report.ends:
        yield "No end was found: nothing could be checked."
    for end in report.ends:
        yield from _end(end, report)
    for end in report.ends_after_error:
        yield f"      line {end.line}: {_what(end)}, reached only after an error"
    for title, notes in (
        ("Hints", report.hints),
        ("Could not be followed", report.problems),
        ("Never reached", report.unreachable),
        ("Note", report.notes),
    ):
        if notes:
            yield f"\n{title}:"
            yield from (f"  line {note.line}: {note.text}" for note in notes)
    yield f"\n{_verdict(report)}"


def _end(end: FlowEnd, report: FlowReport) -> Iterator[str]:
    mark = "ok" if end.is_complete else "??" if not (end.never or end.maybe) else "!!"
    yield f"[{mark}]  line {end.line}: {_what(end)}"
    for title, tags in (("never put", end.never), ("not put on every path", end.maybe), ("not known", end.unknown)):
        if tags:
            yield f"        {title}: {_tags(tags, report)}"
    for trail in end.trails:
        turns = trail.turns if len(trail.turns) <= MAX_TURNS else (trail.turns[0], "…", *trail.turns[1 - MAX_TURNS :])
        yield f"          without {', '.join(trail.tags)}: {' > '.join(turns)}"
    for note in end.unseen:
        yield f"          line {note.line}: {note.text}"


def _what(end: FlowEnd) -> str:
    if end.ending == "unresolved":
        return f"{end.action} {end.name!r} in {end.place} leads out of the file"
    if end.ending == "answer":
        return "an agent takes the conversation, which may be during any action that takes time"
    if end.implicit:
        how = {
            "disconnect": "the call is disconnected",
            "transfer": "the call is transferred",
            "end": "the flow ends",
            "return": "the module returns to the flow that called it",
        }
        name = f" ({end.name})" if end.name not in {"", end.place} else ""
        return f"{how[end.ending]} at the end of {end.place}{name}"
    queue = f" to queue {end.queue!r}" if end.queue else ""
    return f"{end.action} {end.name!r}{queue} in {end.place}"


def _tags(tags: tuple[str, ...], report: FlowReport) -> str:
    return ", ".join(f"{tag}*" if tag in report.required else tag for tag in tags)


def _verdict(report: FlowReport) -> str:
    bad = sum(1 for end in report.ends if end.never or end.maybe)
    if report.exit_status == 1:
        return (
            f"{bad} of {len(report.ends)} ends can be reached without a mapped tag. A flow's variables end with it: "
            "use Set Participant Data before the flow ends."
        )
    if report.exit_status == 2:
        return "Not everything could be checked. In the checked part, no tag is missing."
    return f"All {len(report.ends)} ends have every checked tag."
