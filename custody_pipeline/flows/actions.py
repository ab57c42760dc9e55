"""One action of an export: its targets, its writes, its branches.

Belongs here: the properties of an action, and which outputs its kind has. Does not: what runs after it
(graph_builder.py).

The outputs of actions are those of the vendor's `purecloud-flow-scripting-api-sdk-javascript` 0.0.18 and of exports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from custody_pipeline.flows.document import Mapping, Node, Scalar, Sequence, nodes_within

_TARGET_REF = re.compile(r"target\w*Ref$")
_QUOTED = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*$')
# A text of blanks, or the expression language's word for no value.
_NOTHING = re.compile(r'\s*(?:"\s*"|NOT_SET|ToString\(\s*NOT_SET\s*\))\s*$', re.IGNORECASE)
TRANSFER = re.compile(r"(?:menuT|t)ransferTo\w+$|(?:menuD|d)ialByExtension$")
DATA_ACTION = re.compile(r"call(?:Data|Bridge|SecureData|DataSecure)\w*$")
# A data action may write anything. It is assumed to write tags if its name or input mentions attributes.
_ABOUT_ATTRIBUTES = re.compile(r"attribut|participant\s*data", re.IGNORECASE)
# Actions that take no time, so that no agent takes the conversation meanwhile.
AT_ONCE = re.compile(r"(?:set|find|evaluate|loop)\w*|getParticipantData|updateData|decision|switch|callTask")

# Complete sets of output names. Other actions may have an output that the export does not show.
_FOUND = frozenset({"found", "notFound"})
_SUCCESS = frozenset({"success", "failure"})
_COMPLETE: dict[str, tuple[frozenset[str], ...]] = {
    "decision": (frozenset({"yes", "no"}), frozenset({"true", "false"})),
    "dataTableLookup": (_FOUND | {"failure"},),
    "evaluateSchedule": (frozenset({"active", "inactive"}),),
    "evaluateScheduleGroup": (frozenset({"open", "closed", "holiday", "emergency"}),),
    "askForBoolean": (frozenset({"yes", "no"}),),
    **dict.fromkeys(("findSystemPrompt", "findUserPrompt", "getExternalContact", "getExternalOrganization"), (_FOUND,)),
    **dict.fromkeys(
        ("collectInput", "getResponse", "sendAutoReply", "setWrapupCode", "disconnectWorkitem"), (_SUCCESS,)
    ),
}
_PAIRS = (frozenset({"yes", "no"}), frozenset({"true", "false"}), _SUCCESS, frozenset({"found", "notfound"}))
_COMPLETE_DATA = (_SUCCESS | {"timeout"},)
# A transfer that succeeds does not come back.
_COMPLETE_TRANSFER = (frozenset({"failure"}),)


@dataclass(frozen=True)
class Write:
    """One attribute that an action puts; `name` is None if an expression decides it; `clears`: it is emptied."""

    name: str | None
    line: int
    clears: bool = False


@dataclass(frozen=True)
class Branch:
    """Actions of one output of an action, and the output's name in Architect."""

    label: str
    actions: Sequence


def target_of(content: Mapping) -> str | None:
    """The reference of the menu, task or state to which an action leads, such as `./tasks/task[Name_1]`."""
    for name, node in content.fields.items():
        if _TARGET_REF.match(name) and isinstance(node, Scalar):
            return node.text
    return None


def queue_of(content: Mapping) -> str:
    """Name of the queue to which a transfer leads; empty if an expression decides it."""
    return _filled_in(content.text("targetQueue", "lit", "name")) or ""


def other_flow(kind: str, content: Mapping) -> str:
    """The flow to which a transfer hands the conversation, in words; empty if it is no transfer to a flow."""
    if "toflow" not in kind.casefold():
        return ""
    target = content.mapping("targetFlow", "lit") or content.mapping("targetFlow")
    name = target.text("name") if target else ""
    return f"flow {name!r}" if name else "the flow that an expression decides"


def is_about_attributes(content: Mapping) -> bool:
    """Whether a data action's name or input mentions attributes."""
    for name, part in content.fields.items():
        for node in nodes_within(part) if name not in {"outputs", "description"} else ():
            texts = [node.text] if isinstance(node, Scalar) else node.fields if isinstance(node, Mapping) else ()
            if any(map(_ABOUT_ATTRIBUTES.search, texts)):
                return True
    return False


def writes_of(content: Mapping) -> Iterator[Write]:
    """The attributes that an action puts."""
    for node in content.items("attributes"):
        attribute = node.mapping("attribute") if isinstance(node, Mapping) else None
        if attribute is None:
            yield Write(None, node.line)
            continue
        yield Write(_literal(attribute.get("name")), attribute.line, _is_nothing(attribute.mapping("value")))


def _is_nothing(value: Mapping | None) -> bool:
    """An empty text, or one of blanks, puts nothing, like no value: a night finds no tag there (`TAG_EMPTY`)."""
    if value is None:
        return False
    literal = value.get("lit")
    empty = isinstance(literal, Scalar) and not literal.text.strip()
    return value.text("noValue") == "true" or empty or bool(_NOTHING.match(value.text("exp")))


def _literal(node: Node | None) -> str | None:
    """The text of a constant name: `lit: X`, `exp: "\\"X\\""` or plain `X`."""
    if isinstance(node, Scalar):
        return _filled_in(node.text)
    if not isinstance(node, Mapping):
        return None
    if "lit" in node.fields:
        return _filled_in(node.text("lit"))
    quoted = _QUOTED.match(node.text("exp"))
    return _filled_in(re.sub(r"\\(.)", r"\1", quoted.group(1))) if quoted else None


def _filled_in(text: str) -> str | None:
    """The text, unless a template still has to fill it in: Archy's `{{name}}`, or Terraform's `${name}`."""
    return None if "{{" in text or "${" in text else text


def branches_of(content: Mapping) -> Iterator[Branch]:
    """Every list of actions within an action, for any nesting of outputs."""
    waiting: list[tuple[str, Node]] = [(name, node) for name, node in content.fields.items()]
    while waiting:
        label, node = waiting.pop()
        if isinstance(node, Sequence):
            for item in node.nodes:
                if isinstance(item, Mapping):
                    waiting.extend(item.fields.items())
        elif isinstance(node, Mapping) and node.text("enabled") != "false":
            actions = node.get("actions")
            if isinstance(actions, Sequence):
                yield Branch(node.text("name") or _case(node) or label, actions)
            else:
                waiting.extend(node.fields.items())


def _case(node: Mapping) -> str:
    value = node.mapping("value")
    return f"case {value.text('lit') or value.text('exp')}"[:80] if value else ""


def complete_outputs(kind: str) -> tuple[frozenset[str], ...] | None:
    """The complete sets of outputs of a kind of action; None if they are not known."""
    if TRANSFER.match(kind):
        return _COMPLETE_TRANSFER
    return _COMPLETE_DATA if DATA_ACTION.match(kind) else _COMPLETE.get(kind)


def is_complete(kind: str, content: Mapping, branches: list[Branch], complete: tuple[frozenset[str], ...]) -> bool:
    """True if the branches are complete, so that no path leads directly to the next action."""
    if kind == "switch":
        return "default" in {branch.label.casefold() for branch in branches}
    enabled = _outputs(content)
    return any({name.casefold() for name in names} <= enabled for names in complete)


def _outputs(content: Mapping) -> set[str]:
    return {
        name.casefold()
        for name, node in content.below("outputs").items()
        if isinstance(node, Mapping) and isinstance(node.get("actions"), Sequence)
    }


def is_half(content: Mapping) -> bool:
    """Whether an output is shown without its counterpart, which then exists and does nothing."""
    shown = _outputs(content)
    return any(len(pair & shown) == 1 for pair in _PAIRS)
