"""The analysis agrees with walking every path of random small flows."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from custody_pipeline.flows.flow_check import check_flow
from custody_pipeline.models.mapping import MappedTag
from custody_pipeline_tests.flows.builders import (
    Action,
    call,
    decide,
    disconnect,
    end_task,
    flow,
    jump,
    loop,
    put,
    task,
)

NAMES = ("a", "b", "c")
TAGS = [MappedTag(name, name, purposes=("customer",)) for name in NAMES]

Held = frozenset[str]


def actions_of(tasks: tuple[str, ...]) -> st.SearchStrategy[list[Action]]:
    """Random action lists that may call `tasks` (so no recursion), with few enough ways to walk them all."""

    def one(depth: int, looping: bool) -> st.SearchStrategy[Action]:
        simple = [st.sampled_from(NAMES).map(put), st.just(disconnect())]
        if looping:
            simple += [st.just({"loopNext": {"name": "Next"}}), st.just({"loopExit": {"name": "Exit"}})]
        if tasks:
            simple += [st.sampled_from(tasks).map(call), st.sampled_from(tasks).map(jump)]
            output = st.lists(st.one_of(simple), max_size=2)
            simple.append(st.builds(lambda name, actions: call(name, Other=actions), st.sampled_from(tasks), output))
        simple.append(st.sampled_from(["default", "Other"]).map(end_task))
        if depth == 0:
            return st.one_of(simple)
        nested = [
            st.builds(decide, many(depth - 1, looping), st.none() | many(depth - 1, looping)),
            st.builds(loop, many(depth - 1, True), st.sampled_from([0, 2])),
        ]
        return st.one_of(*nested, *simple[:1], *simple)

    def many(depth: int, looping: bool) -> st.SearchStrategy[list[Action]]:
        return st.lists(one(depth, looping), max_size=3)

    return many(2, False)


class Walker:
    """Walks every way through a flow; each outcome is (how it stopped, what was put by then)."""

    def __init__(self, tasks: dict[str, list[Action]]):
        self.tasks = tasks

    def ends(self) -> dict[str, set[Held]]:
        """What was put when a disconnect or the start's end was reached, by kind of end."""
        found: dict[str, set[Held]] = {}
        for how, held in self.sequence(self.tasks["T0"], frozenset()):
            found.setdefault("disconnect" if how == "disconnect" else "end", set()).add(held)
        return found

    def sequence(self, actions: list[Action], held: Held) -> set[tuple[str, Held]]:
        outcomes: set[tuple[str, Held]] = set()
        going = {held}
        for action in actions:
            following: set[Held] = set()
            for now in going:
                for how, then in self.action(action, now):
                    if how == "on":
                        following.add(then)
                    else:
                        outcomes.add((how, then))
            going = following
        return outcomes | {("on", now) for now in going}

    def action(self, action: Action, held: Held) -> Iterator[tuple[str, Held]]:
        [(kind, content)] = action.items()
        if kind == "setParticipantData":
            yield "on", held | {item["attribute"]["name"]["lit"] for item in content["attributes"]}
        elif kind == "disconnect":
            yield "disconnect", held
        elif kind in {"loopNext", "loopExit"}:
            yield kind, held
        elif kind == "endTask":
            yield f"return {content['outputPath']['name']}", held
        elif kind == "decision":
            for label in ("yes", "no"):
                yield from self.sequence(content["outputs"].get(label, {"actions": []})["actions"], held)
        elif kind == "loop":
            yield from self.loop(content, held)
        else:
            target = content["targetTaskRef"].split("[")[1].rstrip("]")
            for how, then in self.sequence(self.tasks[target], held):
                how = "return default" if how == "on" else how
                if kind == "jumpToTask" or not how.startswith("return"):
                    yield how, then
                else:
                    output = content["outputs"].get(how.removeprefix("return "), {"actions": []})
                    yield from self.sequence(output["actions"], then)

    def loop(self, content: Action, held: Held) -> set[tuple[str, Held]]:
        outcomes: set[tuple[str, Held]] = set() if content["loopCount"]["lit"] else {("on", held)}
        body = content["outputs"]["loop"]["actions"]
        waiting, seen = [held], {held}
        while waiting:
            for how, then in self.sequence(body, waiting.pop()):
                if how in {"on", "loopNext"}:
                    outcomes.add(("on", then))
                    if then not in seen:
                        seen.add(then)
                        waiting.append(then)
                else:
                    outcomes.add(("on", then) if how == "loopExit" else (how, then))
        return outcomes


@settings(max_examples=250, deadline=None)
@given(actions_of(("T1", "T2")), actions_of(("T2",)), actions_of(()))
def test_sure_and_maybe_are_what_walking_every_path_gives(
    first: list[Action], second: list[Action], third: list[Action]
) -> None:
    tasks = {"T0": first, "T1": second, "T2": third}
    walked = Walker(tasks).ends()
    report = check_flow(flow(*(task(name, actions) for name, actions in tasks.items())), TAGS)
    found: dict[str, list[Held]] = {}
    possible: dict[str, set[str]] = {}
    for end in report.ends:
        kind = "end" if end.implicit else "disconnect"
        found.setdefault(kind, []).append(frozenset(end.sure))
        possible.setdefault(kind, set()).update((*end.sure, *end.maybe))
        for trail in end.trails:
            assert not set(trail.tags) & set(end.sure)
    assert found.keys() == walked.keys()
    for kind, ways in walked.items():
        assert frozenset.intersection(*found[kind]) == frozenset.intersection(*ways)
        assert possible[kind] == set().union(*ways)
