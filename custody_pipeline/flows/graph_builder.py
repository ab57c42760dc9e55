"""The control-flow graph of an exported flow.

Belongs here: Architect's constructs (menus, tasks, states, outputs, loops, jumps, calls, transfers) as nodes and edges.
Does not: what one action says (actions.py), or the analysis of the graph (writes.py).

Where Architect's behaviour is not documented, the graph has more paths rather than fewer: a tag is called sure only if
no assumed path misses it. The graph's assumptions about Architect:

- an output that the export omits exists and does nothing, unless the shown outputs are known to be complete;
- after a failed transfer the next action runs, but a chat, an email or a message has no failure path at its queue: the
  flow's error handling takes it; a task without an end action disconnects, or returns if it was called;
- a menu without an answer disconnects (its repeats are counted), and dialling an extension leaves the flow;
- a jump out of a called task ends where its target ends: `End Task` there returns to the first caller;
- an in-queue call flow begins again at its end; an agent may take the conversation during any action that takes time;
- a customer may hang up anywhere, with the tags put so far: this is not named as an end;
- a listening bot may be left early: the customer asks for a person, or is not understood;
- an action whose outputs are not known may have one that is not shown. Such a path is `assumed`: it makes an answer
  unknown, never certain.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from custody_pipeline.flows.actions import (
    AT_ONCE,
    DATA_ACTION,
    TRANSFER,
    Branch,
    branches_of,
    complete_outputs,
    is_about_attributes,
    is_complete,
    is_half,
    other_flow,
    queue_of,
    target_of,
    writes_of,
)
from custody_pipeline.flows.document import FlowDocument, FlowError, Mapping, Node, Note, Scalar, Sequence
from custody_pipeline.flows.graph import FlowGraph, Step, Unit

DEFAULT_PATH = "default"

_REF = re.compile(r"(\w+)\[(.*)\]$")

_AT_LEAST_ONCE = re.compile(r"0*[1-9][0-9]*")

# Actions after which nothing runs.
_ENDS = {
    "disconnect": "disconnect",
    "menuDisconnect": "disconnect",
    "endWorkflow": "end",
    "endFlow": "end",
    "exitBotFlow": "end",
    "exitDigitalBotFlow": "end",
    "exitWorkitemFlow": "end",
    "returnToAgent": "transfer",
    "abortSurveyInvite": "end",
    "completeSurveyInvite": "end",
}
# By its name it ends a flow, but it is not known which flow, or whether it returns.
_MAY_END = re.compile(r"(?:exit|end|abort|complete)[A-Z]\w*$")
_OPAQUE = re.compile(r"call(?:CommonModule|\w*Bot\w*|\w*VirtualAgent)$")
_BOT = {"botFlow", "digitalBot", "digitalBotFlow"}
_LISTENS = re.compile(r"(?:ask|wait|collect|listen|digitalMenu|loopAnythingElse)")
# Flows that disconnect after a task without an end action; other flows leave this to the platform.
_DISCONNECTS = {"inboundCall", "outboundCall", "secureCall", "inboundChat"}
# Flows whose `transferToAcd` has no failure output and nothing behind it.
_NO_FAILED_TRANSFER = {"inboundChat", "inboundEmail", "inboundShortMessage"}
_PREVIOUS_MENU = {"previousMenu", "menuPreviousMenu"}
_REPEAT_MENU = {"repeatMenu", "menuRepeatMenu", "menuReplayMenu"}
_NEXT_LOOP, _EXIT_LOOP = {"loopNext", "nextLoop"}, {"loopExit", "exitLoop"}


def build_graph(document: FlowDocument) -> FlowGraph:
    """The control-flow graph of an exported flow.

    Raises:
        FlowError: it has no start.
    """
    return _Builder(document).build()


@dataclass(frozen=True)
class _Job:
    """Actions to read: from `entry` on, then to `leave`; `loop` is the innermost loop's (next step, step after)."""

    actions: Sequence
    entry: int
    leave: int
    unit: int
    loop: tuple[int, int] | None = None


class _Builder:
    def __init__(self, document: FlowDocument):
        self.document = document
        self.steps: list[Step] = []
        self.units: list[Unit] = []
        self.problems: list[Note] = []
        self.jobs: deque[_Job] = deque()
        self.menus: deque[tuple[int, Mapping]] = deque()
        self.global_choices: list[int] = []
        self.references: list[tuple[int, str]] = []
        self.previous_menu: list[int] = []
        self.assumed: dict[tuple[int, int], Note] = {}
        self.bot_exits: dict[str, int] = {}
        self.answered: int | None = None
        # Kind and refId, kind and name → the first such unit.
        self.by_ref_id: dict[tuple[str, str], int] = {}
        self.by_name: dict[tuple[str, str], int] = {}

    def build(self) -> FlowGraph:
        body = self.document.body
        if self.document.kind.startswith("inqueue"):
            self.answered = self._terminal(0, "", "answer", "an agent", body.line, implicit=True)
        for node in body.fields.values():
            if isinstance(node, Sequence):
                for kind, content in self._items(node.nodes, quiet=True):
                    if "actions" in content.fields or "choices" in content.fields or "refId" in content.fields:
                        self._unit(kind, content)
        start = self._start(body)
        if self.document.kind in _BOT:
            self._bot_exits(body)
        while self.menus or self.jobs:
            if self.jobs:
                self._sequence(self.jobs.popleft())
            else:
                self._menu(*self.menus.popleft())
        self._connect()
        return FlowGraph(self.steps, self.units, start, self._handler(body), self.problems, self.assumed)

    def _start(self, body: Mapping) -> int:
        actions = body.get("startUpTaskActions")
        if isinstance(actions, Sequence):
            return self.units[self._unit("start", Mapping({"actions": actions}, actions.line))].entry
        reference = body.get("startUpRef")
        if isinstance(reference, Scalar):
            unit = self._resolve(reference.text)
            if unit is None:
                source = self.document.source
                raise FlowError(source, reference.line, f"startUpRef {reference.text!r} is nowhere in the file")
            return self.units[unit].entry
        expected = "expected startUpRef or startUpTaskActions, as an exported flow has"
        raise FlowError(self.document.source, body.line, expected)

    def _bot_exits(self, body: Mapping) -> None:
        """The steps after a bot if the customer asks for a person, or is not understood."""
        settings = body.mapping("settingsErrorHandling") or Mapping({}, body.line)
        enabled = settings.mapping("enableAgentEscalation")
        ways = [("recognitionFailureEventHandling", "not understood")]
        if enabled is not None and enabled.text("lit") != "false":
            ways.append(("agentEscalationHandling", "asks for a person"))
        for name, label in ways:
            handling = settings.mapping(name) or Mapping({}, settings.line)
            point = self._step(0, handling.line, label=label)
            self.bot_exits[name] = point
            for kind, node in handling.fields.items() or (("exit", None),):
                reference = target_of(node) if isinstance(node, Mapping) else None
                if reference is not None:
                    self.references.append((point, reference))
                else:
                    # The end has the label, so that a path is reported once.
                    self.steps[point].label = ""
                    ending = "disconnect" if kind == "disconnect" else "end"
                    self._edge(point, self._terminal(0, "", ending, label, handling.line, implicit=True))

    def _unit(self, kind: str, content: Mapping) -> int:
        unit = Unit(kind, content.text("name"), content.line)
        self.units.append(unit)
        index = len(self.units) - 1
        self.by_ref_id.setdefault((kind, content.text("refId")), index)
        self.by_name.setdefault((kind, unit.name), index)
        unit.entry = self._step(index, content.line, label=str(unit))
        actions = content.get("actions")
        if "choices" in content.fields or kind.casefold() == "menu":
            self.menus.append((index, content))
        elif kind == "task":
            end = self._exit(index, DEFAULT_PATH, content.line)
            self._follow(actions, unit.entry, end, index)
        elif self.answered is not None and kind == "start":
            again = self._step(index, content.line)
            self._edge(again, unit.entry)
            self._edge(again, self.answered)
            self._follow(actions, unit.entry, again, index)
        else:
            end = self._terminal(index, "", self._end_of_unit("end"), str(unit), content.line, implicit=True)
            self._follow(actions, unit.entry, end, index)
        return index

    def _menu(self, index: int, content: Mapping) -> None:
        entry = self.units[index].entry
        silent = self._terminal(index, "", "disconnect", "no choice made", content.line, implicit=True)
        self._edge(entry, silent)
        if self._listens_for_extensions(content):
            dialled = self._terminal(index, "", "transfer", "extension dialled", content.line, implicit=True)
            self._edge(entry, dialled)
        for kind, choice in self._items(content.items("choices")):
            self._choice(index, kind, choice)
        for kind, node in content.below("defaultChoice").items():
            if isinstance(node, Mapping):
                self._choice(index, kind, node)

    def _choice(self, menu: int, kind: str, choice: Mapping) -> None:
        entry = self.units[menu].entry
        digit = choice.text("dtmf").removeprefix("digit_")
        name = choice.text("name", default=kind)
        point = self._step(menu, choice.line, label=f"{name} ({digit})" if digit else name)
        self._edge(entry, point)
        if choice.text("globalDtmf") == "true" or choice.text("globalSpeechRecTerms") == "true":
            self.global_choices.append(point)
        submenu, task = choice.mapping("menu"), choice.mapping("task")
        if submenu is not None:
            self._edge(point, self.units[self._unit("menu", submenu)].entry)
        elif task is not None:
            end = self._terminal(menu, "", "disconnect", f"end of {name}", task.line, implicit=True)
            self._follow(task.get("actions"), point, end, menu)
        elif kind in _REPEAT_MENU:
            self._edge(point, entry)
        else:
            behind = self._action(_Job(Sequence([], choice.line), point, entry, menu), kind, choice, point)
            if behind is not None:
                self._edge(behind, entry)

    def _listens_for_extensions(self, menu: Mapping) -> bool:
        for owner in (menu, self.document.body):
            value = owner.below("settingsMenu", "listenForExtensionDialing").get("lit")
            if value is not None:
                return isinstance(value, Scalar) and value.text == "true"
        return False

    def _sequence(self, job: _Job) -> None:
        at: int | None = job.entry
        for kind, content in self._items(job.actions.nodes):
            if at is None:
                # After an end: kept, so that unreachable actions can be named.
                at = self._step(job.unit, content.line)
            at = self._action(job, kind, content, at)
        if at is not None:
            self._edge(at, job.leave)

    def _action(self, job: _Job, kind: str, content: Mapping, at: int) -> int | None:
        """Add one action after step `at`. Returns the step after it, or None if nothing runs after it."""
        name = content.text("name", default=kind)
        if kind in _ENDS:
            self._edge(at, self._terminal(job.unit, kind, _ENDS[kind], name, content.line))
            return None
        if kind == "endTask":
            exit_name = content.text("outputPath", "name", default=DEFAULT_PATH)
            self._edge(at, self._exit(job.unit, exit_name, content.line))
            return None
        if kind in _NEXT_LOOP | _EXIT_LOOP:
            self._leave_loop(job, kind, content, at)
            return None
        if kind in _PREVIOUS_MENU:
            self.previous_menu.append(at)
            return None
        reference = target_of(content)
        if reference is not None and kind != "callTask":
            jump = self._step(job.unit, content.line, kind=kind, label=name)
            self._edge(at, jump)
            self.references.append((jump, reference))
            return None
        step = self._step(job.unit, content.line, kind=kind, label=name)
        self._edge(at, step)
        behind = self._step(job.unit, content.line)
        if _MAY_END.match(kind):
            self._problem(content.line, f"{kind} {name!r} is not known: it is taken for an end, and for none")
            self._edge(step, self._terminal(job.unit, kind, self._end_of_unit("end"), name, content.line))
        self._listen(kind, content, step)
        if self.answered is not None and not (AT_ONCE.fullmatch(kind) or TRANSFER.match(kind)):
            self._edge(step, self.answered)
        if kind == "callTask" and reference is not None:
            self._call(job, content, step, behind, reference)
        elif kind == "loop" or (kind.startswith("loop") and "outputs" in content.fields):
            self._loop(job, content, step, behind)
        else:
            self._branching(job, kind, content, step, behind)
        return behind

    def _listen(self, kind: str, content: Mapping, step: int) -> None:
        """The exits of a bot at an action that waits for the customer."""
        if not self.bot_exits or not _LISTENS.match(kind):
            return
        taken = {
            name
            for name, node in content.below("outputs").items()
            if isinstance(node, Mapping) and node.text("enabled") != "false"
        }
        for name, point in self.bot_exits.items():
            # The action's own outputs replace the bot's handling.
            if name == "agentEscalationHandling" or not {"maxNoInputs", "maxNoMatches"} <= taken:
                self._edge(step, point)

    def _branching(self, job: _Job, kind: str, content: Mapping, step: int, behind: int) -> None:
        node = self.steps[step]
        if TRANSFER.match(kind):
            ended = self._terminal(job.unit, kind, "transfer", node.label, content.line)
            self.steps[ended].queue = queue_of(content) if kind.casefold().endswith("toacd") else None
            self.steps[ended].goes_on_in = other_flow(kind, content)
            self._edge(step, ended)
        elif kind == "setParticipantData":
            self._write(step, content)
        elif _OPAQUE.match(kind):
            node.opaque = f"{kind} {node.label!r}"
        elif DATA_ACTION.match(kind) and is_about_attributes(content):
            node.opaque = f"{kind} {node.label!r} (a data action about attributes)"
        found = list(branches_of(content))
        if kind == "setConversationData":
            self._written_on_success(job, content, step, behind, found)
            return
        for branch in found:
            self._branch(job, branch, step, behind)
        complete = complete_outputs(kind)
        if found and complete is None and kind != "switch" and not is_half(content):
            outputs = ", ".join(branch.label for branch in found)
            text = f"{kind} {node.label!r} may have more outputs than {outputs}, with nothing in them"
            self.assumed[step, behind] = Note(content.line, text)
        if not found and kind == "transferToAcd" and self.document.kind in _NO_FAILED_TRANSFER:
            return
        if not is_complete(kind, content, found, complete or ()):
            self._edge(step, behind)

    def _write(self, step: int, content: Mapping) -> None:
        self.steps[step].writes = tuple(writes_of(content))
        for write in self.steps[step].writes:
            if write.clears and write.name is None:
                self._problem(write.line, "an expression decides which attribute is emptied: it may be any")

    def _written_on_success(self, job: _Job, content: Mapping, step: int, behind: int, found: list[Branch]) -> None:
        """`Set Conversation Data` calls the API, which may refuse: the data are written only on its success output."""
        written = self._step(job.unit, content.line)
        self._write(written, content)
        self._edge(step, written)
        taken = {branch.label for branch in found}
        for branch in found:
            self._branch(job, branch, written if branch.label == "success" else step, behind)
        if "success" not in taken:
            self._edge(written, behind)
        if "failure" not in taken:
            self._edge(step, behind)

    def _branch(self, job: _Job, branch: Branch, step: int, behind: int) -> None:
        self._edge(step, self._enter(job, branch, behind, job.loop))

    def _enter(self, job: _Job, branch: Branch, leave: int, loop: tuple[int, int] | None) -> int:
        """The step at the beginning of a branch, whose actions are read later."""
        entry = self._step(job.unit, branch.actions.line, label=branch.label)
        self.jobs.append(_Job(branch.actions, entry, leave, job.unit, loop))
        return entry

    def _loop(self, job: _Job, content: Mapping, step: int, behind: int) -> None:
        again = self._step(job.unit, content.line)
        self._edge(again, behind)
        for branch in branches_of(content):
            entry = self._enter(job, branch, again, (again, behind))
            self._edge(step, entry)
            self._edge(again, entry)
        times = content.text("loopCount", "lit")
        if not (_AT_LEAST_ONCE.fullmatch(times) and len(self.steps[step].successors) == 1):
            self._edge(step, behind)

    def _leave_loop(self, job: _Job, kind: str, content: Mapping, at: int) -> None:
        if job.loop is None:
            self._problem(content.line, f"{kind} stands in no loop")
            self._edge(at, job.leave)
            return
        self._edge(at, job.loop[0] if kind in _NEXT_LOOP else job.loop[1])

    def _call(self, job: _Job, content: Mapping, step: int, behind: int, reference: str) -> None:
        node = self.steps[step]
        node.role = "call"
        node.returns = {"": behind}
        for branch in branches_of(content):
            node.returns[branch.label] = self._enter(job, branch, behind, job.loop)
        self.references.append((step, reference))

    def _connect(self) -> None:
        for index, reference in self.references:
            step, unit = self.steps[index], self._resolve(reference)
            if unit is None:
                self._problem(step.line, f"{step.label!r} leads to {reference!r}, which is nowhere in the file")
                step.role = "plain"
                for behind in set(step.returns.values()):
                    self._edge(index, behind)
                if not step.returns:
                    self._edge(index, self._terminal(step.unit, step.kind, "unresolved", step.label, step.line))
            elif step.role == "call":
                step.callee = unit
            else:
                self._edge(index, self.units[unit].entry)
        entries = [unit.entry for unit in self.units if unit.kind == "menu"]
        for entry in entries:
            for choice in self.global_choices:
                self._edge(entry, choice)
            for previous in self.previous_menu:
                self._edge(previous, entry)

    def _resolve(self, reference: str) -> int | None:
        match = _REF.search(reference)
        if not match:
            return None
        unit = match[1], match[2]
        return self.by_ref_id.get(unit, self.by_name.get(unit))

    def _handler(self, body: Mapping) -> int | None:
        for node in body.below("settingsErrorHandling", "errorHandling").values():
            reference = target_of(node) if isinstance(node, Mapping) else None
            if reference is not None:
                return self._resolve(reference)
        return None

    def _step(self, unit: int, line: int, *, kind: str = "", label: str = "") -> int:
        self.steps.append(Step("plain", kind, label, line, unit))
        return len(self.steps) - 1

    def _terminal(self, unit: int, kind: str, ending: str, label: str, line: int, *, implicit: bool = False) -> int:
        self.steps.append(Step("terminal", kind, label, line, unit, ending=ending, implicit=implicit))
        return len(self.steps) - 1

    def _end_of_unit(self, otherwise: str) -> str:
        return "return" if self.document.kind == "commonModule" else otherwise

    def _exit(self, unit: int, path: str, line: int) -> int:
        exits = self.units[unit].exits
        if path not in exits:
            ending = self._end_of_unit("disconnect" if self.document.kind in _DISCONNECTS else "end")
            self.steps.append(Step("exit", "endTask", path, line, unit, ending=ending, implicit=True))
            exits[path] = len(self.steps) - 1
        return exits[path]

    def _follow(self, actions: Node | None, entry: int, leave: int, unit: int) -> None:
        if isinstance(actions, Sequence):
            self.jobs.append(_Job(actions, entry, leave, unit))
        else:
            self._edge(entry, leave)

    def _edge(self, source: int, target: int) -> None:
        successors = self.steps[source].successors
        if target not in successors:
            successors.append(target)

    def _problem(self, line: int, message: str) -> None:
        self.problems.append(Note(line, message))

    def _items(self, nodes: list[Node], *, quiet: bool = False) -> Iterator[tuple[str, Mapping]]:
        """Each item of a list in Architect's way: one `kind: {…}`."""
        for node in nodes:
            if isinstance(node, Mapping) and len(node.fields) == 1:
                kind, content = next(iter(node.fields.items()))
                # An action without properties is written `- disconnect:`, with an empty scalar.
                yield kind, content if isinstance(content, Mapping) else Mapping({}, node.line)
            elif not quiet:
                self._problem(node.line, "expected one action, for example 'disconnect:' with its properties below")
