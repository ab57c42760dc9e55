"""Seeds of the oracle, and every kind of failure it has found as a case of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from custody_pipeline_tests.oracle.faults import (
    FOR_EVER,
    AnswerFault,
    CapitalsFault,
    Fault,
    ForeignFault,
    NodeFault,
    ObjectFault,
    Plan,
    ProcessFault,
    StoreFault,
    SwapFault,
)
from custody_pipeline_tests.oracle.machine import Machine, Trial, machine, run_seed
from custody_pipeline_tests.oracle.sources import JOB_ID, Raw
from custody_pipeline_tests.oracle.truth import NIGHT, Conversation, Fate, Kind, Leg, Recording, Tag, World

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore::ResourceWarning")]

SEEDS = (2, 3, 4, 5, 6, 9)
"""The seeds of every run of the tests: single nights, the last one by the command. `make fuzz` takes all from 1."""


@pytest.fixture(scope="module")
def oracle() -> Iterator[Machine]:
    with machine() as made:
        yield made


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_breaks_no_property(oracle: Machine, seed: int) -> None:
    trial = run_seed(oracle, seed)
    assert not trial.broken, f"seed {seed}: {trial.broken}; faults {trial.plan.faults}"
    assert not trial.unknown, f"seed {seed}: the platform has no {trial.unknown}"


YES = (Tag("Legal-Hold", "true"), Tag("Consent.Recorded", "yes"))


def _id(kind: str, number: int) -> str:
    return f"{kind}0000000-0000-4000-8000-{number:012d}"


def _conversation(
    number: int,
    *kinds: tuple[Kind, Fate],
    medium: str = "voice",
    agent: tuple[Tag, ...] = YES,
    customer: tuple[Tag, ...] = YES,
) -> Conversation:
    """A conversation of a customer and one agent, with recordings of the given kinds and fates."""
    start = datetime(NIGHT.year, NIGHT.month, NIGHT.day, 9, tzinfo=UTC) + timedelta(minutes=number)
    end = start + timedelta(minutes=5)
    named = [kind for kind, _ in kinds]
    one, other = _id("5", 2 * number), _id("5", 2 * number + 1)
    return Conversation(
        _id("c", number),
        start,
        end,
        "inbound",
        (
            Leg(_id("f", 2 * number), "customer", one, medium, tags=customer, audio_recorded="audio" in named),
            Leg(
                _id("f", 2 * number + 1), "agent", other, medium, peer_id=one, user_id=_id("a", 1), tags=agent,
                screen_recorded="screen" in named,
            ),
        ),
        tuple(
            Recording(
                _id("b", 10 * number + place), kind, other if kind == "screen" else one, start, end, fate,
                {"audio": ".opus", "screen": ".webm", "email": ".eml"}.get(kind, ".zip"),
                {"audio": "Trunk", "screen": "Screen"}.get(kind),
            )
            for place, (kind, fate) in enumerate(kinds)
        ),
    )  # fmt: skip


def _world(*conversations: Conversation, **settings: Any) -> World:
    made = World(0, _id("0", 1), conversations, True, "recording_jobs", "needed", False, 50, (_id("d", 1),))
    return replace(made, **settings)


_TWO = _conversation(12, ("audio", "exported"), ("audio", "erased"))
TWO_SESSIONS = replace(
    _TWO,
    legs=(_TWO.legs[0], replace(_TWO.legs[1], audio_recorded=True)),
    recordings=(_TWO.recordings[0], replace(_TWO.recordings[1], session_id=_TWO.legs[1].session_id)),
)

TOGETHER = {
    "a call": _conversation(1, ("audio", "exported")),
    "audio lost, screen recording exported": _conversation(2, ("audio", "lost"), ("screen", "exported")),
    "audio erased, screen recording exported": _conversation(3, ("audio", "erased"), ("screen", "exported")),
    "a chat recording that was never exported": _conversation(4, ("chat", "pending"), medium="chat"),
    "required tags set to nothing": _conversation(
        5, ("audio", "exported"),
        agent=(Tag("Legal-Hold", ""), Tag("Consent.Recorded", " ")),
        customer=(Tag("Legal-Hold", ""), Tag("Consent.Recorded", " ")),
    ),
    "agent and customer disagree on a mapped tag": _conversation(
        6, ("audio", "exported"), agent=(Tag("Legal-Hold", "false"),)
    ),
    "a value of 1,500 characters": _conversation(7, ("audio", "exported"), customer=(*YES, Tag("Summary", "s" * 1500))),
    "values that look like numbers, dates and formulas": _conversation(
        8, ("audio", "exported"),
        customer=(*YES, *(Tag(value, value) for value in ("007", "1.10", "=1+1", "2026-11-02T09:00:00Z", "null"))),
    ),
    "a media file without an extension": _conversation(9, ("audio", "exported")),
    "a helper document beside a pair": _conversation(10, ("audio", "exported")),
    "tags set after the end": _conversation(11, ("audio", "exported"), agent=(*YES, Tag("Late", "1", late=True))),
    "one of two recorded sessions has no recording": TWO_SESSIONS,
    "a screen recording of which the flag alone is left": _conversation(
        13, ("audio", "exported"), ("screen", "erased")
    ),
}  # fmt: skip

NO_CONVERSATION = "hour=3/conversation_id=not-an-id/0e100000-0000-4000-8000-0000000000e1.opus"

TOGETHER_FAULTS: tuple[Fault, ...] = (
    ObjectFault(_id("b", 90), "no extension"),
    ObjectFault(_id("b", 100), "manifest.json"),
    ForeignFault(NO_CONVERSATION),
)

PLACES = {case: conversation.id for case, conversation in TOGETHER.items()}
PLACES["an object under no conversation's id"] = NO_CONVERSATION


@pytest.fixture(scope="module")
def together(oracle: Machine) -> Trial:
    return oracle.run(Plan(_world(*TOGETHER.values()), TOGETHER_FAULTS))


@pytest.mark.parametrize("case", PLACES)
def test_each_case_of_a_mixed_night_is_published_truly(case: str, together: Trial) -> None:
    assert [broken for broken in together.broken if broken.where == PLACES[case]] == []


def test_a_mixed_night_as_a_whole_is_published_truly(together: Trial) -> None:
    assert [broken for broken in together.broken if broken.where not in PLACES.values()] == []
    # The night is established: if it were not, no case would need its rows.
    assert [ending.status for ending in together.endings] == [0]


CALLS = (_conversation(1, ("audio", "exported")), _conversation(2, ("audio", "exported")))
HALVED = "s" * 1023 + "\U0001f600"
MIDNIGHT = datetime(NIGHT.year, NIGHT.month, NIGHT.day, tzinfo=UTC)


def _of_the_evening_before(call: Conversation) -> Conversation:
    start, end = MIDNIGHT - timedelta(minutes=9), MIDNIGHT + timedelta(minutes=9)
    recordings = tuple(replace(recording, start=start, end=end) for recording in call.recordings)
    return replace(call, start=start, end=end, recordings=recordings)


EVENING_BEFORE = tuple(
    _of_the_evening_before(call)
    for call in (_conversation(3, ("audio", "exported")), _conversation(4, ("audio", "failed")))
)

UNREADABLE = tuple(_conversation(number, ("audio", "exported")) for number in range(3, 7))
IN_AN_ATTRIBUTE = ("participants", 0, "attributes", "X")

ALONE: dict[str, tuple[World, tuple[Fault, ...]]] = {
    "half a surrogate pair, NaN, 3,000 levels and the year 294247 in a conversation each": (
        _world(*CALLS, *UNREADABLE),
        (
            NodeFault("details", UNREADABLE[0].id, IN_AN_ATTRIBUTE, Raw(b'"\\ud83d"')),
            NodeFault("details", UNREADABLE[1].id, IN_AN_ATTRIBUTE, Raw(b"NaN")),
            NodeFault("details", UNREADABLE[2].id, ("participants", 0, "x"), Raw(b"[" * 3000 + b"]" * 3000)),
            NodeFault("recordingmetadata", UNREADABLE[3].id, (0, "startTime"), "294247-01-10T04:00:54.775Z"),
        ),
    ),
    "an export job whose query is a list": (
        _world(*CALLS), (NodeFault("export_job", JOB_ID, ("recordingJobsQuery", "conversationQuery"), [[]]),)
    ),
    "details that are {}": (_world(*CALLS), (AnswerFault("details_results", None, 0, FOR_EVER, "object"),)),
    "a details job that cannot be made": (_world(*CALLS), (AnswerFault("details_create", None, 0, FOR_EVER, "503"),)),
    "404 on the first poll of a new job": (_world(*CALLS), (AnswerFault("details_poll", None, 0, 1, "404"),)),
    "a list of failed recordings that is refused": (_world(*CALLS), (AnswerFault("failed", None, 0, FOR_EVER, "400"),)),
    "a list of all recordings that is null": (
        _world(*CALLS), (AnswerFault("retention", None, 0, FOR_EVER, "entities null"),)
    ),
    "an entry of the list of all recordings that is nested too deep": (
        _world(*CALLS), (NodeFault("retention", _id("b", 10), ("creationTime",), Raw(b"[" * 3000 + b"]" * 3000)),)
    ),
    "a job whose totals are far from what is known": (
        _world(*CALLS), (NodeFault("export_job", JOB_ID, ("totalRecordings",), 1000),)
    ),
    "calls begun the evening before": (_world(*CALLS, *EVENING_BEFORE), ()),
    "the bucket alone": (_world(*CALLS, api=False, manifest_source="bucket"), ()),
    "a cut value that ends in half a surrogate pair": (
        _world(*CALLS, _conversation(3, ("audio", "exported"), customer=(*YES, Tag("Summary", HALVED)))),
        (ProcessFault("order"),),
    ),
    "a clock that was fast in an earlier run": (_world(*CALLS), (ProcessFault("early", 600),)),
    "a run that changes nothing": (_world(*CALLS), (ProcessFault("again"),)),
    "a conversation that every source lost since the first run": (_world(*CALLS), (ProcessFault("fade"),)),
    "a chat recording that the lists alone would show": (
        _world(*CALLS, _conversation(3, ("chat", "pending"), medium="chat"), manifest_source="bucket"), ()
    ),
    "orphans that cannot be listed": (_world(*CALLS), (AnswerFault("orphans", None, 0, FOR_EVER, "500"),)),
    "a details job that fails": (_world(*CALLS), (AnswerFault("details_poll", None, 0, FOR_EVER, "job failed"),)),
    "an answer cut short once": (_world(*CALLS), (AnswerFault("details_results", None, 0, 1, "short"),)),
    "a conversation whose recordings cannot be listed": (
        _world(*CALLS), (AnswerFault("recordingmetadata", CALLS[0].id, 0, FOR_EVER, "500"),)
    ),
    "a bucket that cannot be listed": (_world(*CALLS), (StoreFault("list", 0, FOR_EVER, "access denied"),)),
    "media that cannot be read": (_world(*CALLS), (StoreFault(_id("b", 10), 0, FOR_EVER, "access denied"),)),
    "a home that was lost": (_world(*CALLS), (ProcessFault("lost"),)),
    "two runs at once in one home": (_world(*CALLS), (ProcessFault("pair"),)),
    "two runs at once from two homes": (_world(*CALLS), (ProcessFault("twins"),)),
    "a process killed while it publishes": (_world(*CALLS), (ProcessFault("kill", 70),)),
    "recordings whose list has another shape": (
        _world(*CALLS, _conversation(3, ("chat", "pending"), medium="chat")),
        (AnswerFault("recordingmetadata", None, 0, FOR_EVER, "object"),),
    ),
    "a conversation without participants": (
        _world(*CALLS, single_reads="all"),
        (AnswerFault("conversation", None, 0, FOR_EVER, "object"),),
    ),
    "ids in capitals in two sources": (
        _world(*CALLS, _conversation(3, ("chat", "pending"), medium="chat"), single_reads="all"),
        (CapitalsFault("recordingmetadata"), CapitalsFault("retention")),
    ),
    "sidecars of two recordings that changed places": (
        _world(*CALLS), (SwapFault((_id("b", 10), _id("b", 20))),)
    ),
}  # fmt: skip


ALWAYS = {
    "half a surrogate pair, NaN, 3,000 levels and the year 294247 in a conversation each",
    "a list of failed recordings that is refused",
    "calls begun the evening before",
    "the bucket alone",
    "a clock that was fast in an earlier run",
    "a details job that fails",
    "a conversation whose recordings cannot be listed",
    "a bucket that cannot be listed",
    "two runs at once from two homes",
    "recordings whose list has another shape",
}
"""One night for each way in which a night can be wrong as a whole; the others are slow, and run in `make fuzz`."""


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in ALWAYS else [pytest.mark.slow]) for case in ALONE]
)
def test_a_night_with_one_fault_is_right_or_says_where_it_is_not(case: str, oracle: Machine) -> None:
    trial = oracle.run(Plan(*ALONE[case]))
    assert trial.broken == []
