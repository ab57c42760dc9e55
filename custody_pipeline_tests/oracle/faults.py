"""Faults, chosen at random from a view. Each has its own parameters, so that a plan can be reduced.

A fault names its target by id. In a world without this target it does nothing.

Belongs here: breaking documents, answers, objects, pages and processes. Does not: judging.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from custody_pipeline_tests.oracle.sources import Answer, Raw, Refusal, View, dump, show
from custody_pipeline_tests.oracle.truth import NIGHT, World, make_world

if TYPE_CHECKING:
    from collections.abc import Callable

FOR_EVER = 1_000_000
START = "MDAwMDAw"
"""The cursor of the beginning of a list."""


@dataclass(frozen=True)
class NodeFault:
    """One node of a document becomes another JSON value."""

    source: str
    key: str
    path: tuple[str | int, ...]
    value: Any

    def apply(self, view: View) -> None:
        place = (self.source, self.key)
        if place not in view.documents:
            return
        if not self.path:
            view.documents[place] = self.value
            return
        view.documents[place] = document = copy.deepcopy(view.documents[place])
        try:
            for step in self.path[:-1]:
                document = document[step]
            document[self.path[-1]] = self.value
        except (KeyError, IndexError, TypeError):
            return


@dataclass(frozen=True)
class SidecarFault:
    """One sidecar has other bytes. `key`: the recording's id."""

    key: str
    how: str

    def apply(self, view: View) -> None:
        for name, content in view.objects.items():
            if self.key in name and name.endswith("_metadata.json"):
                view.objects[name] = _BYTES[self.how](content)


@dataclass(frozen=True)
class SwapFault:
    """The sidecars of two recordings change places."""

    keys: tuple[str, str]

    def apply(self, view: View) -> None:
        one, other = (
            next((name for name in view.objects if key in name and name.endswith("_metadata.json")), None)
            for key in self.keys
        )
        if one and other:
            view.objects[one], view.objects[other] = view.objects[other], view.objects[one]


@dataclass(frozen=True)
class CapitalsFault:
    """One source writes its ids in capitals: a UUID is the same in any case (RFC 9562)."""

    source: str

    def apply(self, view: View) -> None:
        for place in view.documents:
            if place[0] == self.source:
                view.documents[place] = _in_capitals(view.documents[place])


def _in_capitals(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_in_capitals(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        key: value.upper() if key in _IDS and isinstance(value, str) else _in_capitals(value)
        for key, value in tree.items()
    }


_IDS = frozenset({"id", "recordingId", "conversationId", "sessionId"})


@dataclass(frozen=True)
class AnswerFault:
    """Answers number `first` to `first + count - 1` of an endpoint and key are broken; `key` None: of every key."""

    endpoint: str
    key: str | None
    first: int
    count: int
    how: str

    def tamper(self, endpoint: str, key: str, number: int, answer: Answer) -> Answer:
        if endpoint != self.endpoint or (self.key is not None and key != self.key):
            return answer
        if not self.first <= number < self.first + self.count:
            return answer
        return _ANSWERS[self.how](answer)


@dataclass(frozen=True)
class PageFault:
    """The items of a listing come in another order, or one comes twice."""

    listing: str
    how: Literal["reversed", "repeated"]

    def apply(self, view: View) -> None:
        names = view.listings[self.listing]
        view.listings[self.listing] = names[::-1] if self.how == "reversed" else names + names[:1]


@dataclass(frozen=True)
class ObjectFault:
    """An object of the export bucket is missing, empty, or has a neighbour. `key` is a recording's id."""

    key: str
    how: str

    def apply(self, view: View) -> None:
        media = [name for name in view.objects if self.key in name and not name.endswith("_metadata.json")]
        for name in media:
            folder, _, file = name.rpartition("/")
            content = view.objects[name]
            match self.how:
                case "missing":
                    del view.objects[name]
                case "pair missing":
                    del view.objects[name]
                    view.objects.pop(f"{name}_metadata.json", None)
                case "empty":
                    view.objects[name] = b""
                case "no extension":
                    view.objects[f"{folder}/{self.key}"] = view.objects.pop(name)
                case "short sidecar name":
                    sidecar = view.objects.pop(f"{name}_metadata.json", None)
                    if sidecar is not None:
                        view.objects[f"{folder}/{self.key}_metadata.json"] = sidecar
                case "deeper":
                    view.objects[f"{folder}/part=1/{file}"] = view.objects.pop(name)
                case "foreign organisation":
                    other = "0f000000-0000-4000-8000-00000000000f" + name[36:]
                    view.objects[other] = content
                case _:
                    view.objects[f"{folder}/{self.how}"] = content


@dataclass(frozen=True)
class ForeignFault:
    """An object that is no recording of the organisation lies in the night's folder."""

    name: str

    def apply(self, view: View) -> None:
        folder = f"{view.world.organization_id}/year={NIGHT.year}/month={NIGHT.month}/day={NIGHT.day}"
        view.objects[f"{folder}/{self.name}"] = b"foreign"


@dataclass(frozen=True)
class StoreFault:
    """S3 requests number `first` to `first + count - 1` of a kind fail.

    `target`: `list` (listings of the export bucket), `publish` (writes), or a recording's id (reads of its media).
    """

    target: str
    first: int
    count: int
    how: str

    def matches(self, method: str, path: str) -> bool:
        """Whether this fault applies to the request."""
        exports = path.startswith("/oracle-exports")
        if self.target == "list":
            return exports and method == "GET" and ("list-type=" in path or "versions" in path)
        if self.target == "publish":
            return not exports and method == "PUT"
        return exports and self.target in path and method == "GET" and "_metadata.json" not in path

    def refusal(self) -> Refusal:
        """The answer instead."""
        return _REFUSALS[self.how]


@dataclass(frozen=True)
class ProcessFault:
    """How the night is run.

    `kill`: the process is killed at request `number`, and the night is run again. `twins`: two runs at once, in two
    homes, one prefix. `pair`: the same in one home. `lost`: the home is lost, and another publishes to its prefix.
    `again`: a second run. `order`: a second home sees the same in another order. `early`: a first run `number` seconds
    ahead of the clock sees less; then the true run. `fade`: between two runs every source loses a conversation.
    """

    how: Literal["kill", "twins", "pair", "lost", "again", "order", "early", "fade"]
    number: int = 0


Fault = (
    NodeFault
    | SidecarFault
    | SwapFault
    | CapitalsFault
    | AnswerFault
    | StoreFault
    | PageFault
    | ObjectFault
    | ForeignFault
    | ProcessFault
)


@dataclass(frozen=True)
class Plan:
    """A world and what is broken in it: everything that a run depends on."""

    world: World
    faults: tuple[Fault, ...]

    def view(self) -> View:
        """The answers of the sources with the faults."""
        view = show(self.world)
        for fault in self.faults:
            if not isinstance(fault, AnswerFault | StoreFault | ProcessFault):
                fault.apply(view)
        return view

    def tamper(self, endpoint: str, key: str, number: int, answer: Answer) -> Answer:
        """The answer after all faults that apply to it."""
        for fault in self.faults:
            if isinstance(fault, AnswerFault):
                answer = fault.tamper(endpoint, key, number, answer)
        return answer

    def refuser(self) -> Callable[[str, str], Refusal | None]:
        """What S3 refuses of one run's requests: (method, path) → refusal."""
        faults = [fault for fault in self.faults if isinstance(fault, StoreFault)]
        counts = [0] * len(faults)

        def refuse(method: str, path: str) -> Refusal | None:
            for place, fault in enumerate(faults):
                if fault.matches(method, path):
                    number, counts[place] = counts[place], counts[place] + 1
                    if fault.first <= number < fault.first + fault.count:
                        return fault.refusal()
            return None

        return refuse

    @property
    def counts_requests(self) -> bool:
        """Some fault depends on a request's number: two runs of this plan need not see the same."""
        return any(isinstance(fault, AnswerFault | StoreFault) for fault in self.faults)

    @property
    def process(self) -> ProcessFault | None:
        """How the night is run, if not once without interruption."""
        return next((fault for fault in self.faults if isinstance(fault, ProcessFault)), None)


def make_plan(seed: int) -> Plan:
    """The plan of a seed: its world, and no, few or many faults; many are in documents and objects alone."""
    world = make_world(seed)
    rng = random.Random(seed * 2 + 1)
    view = show(world)
    faults: list[Fault] = []
    number = rng.choice((0, 1, 1, 2, 3, 10))
    for _ in range(number):
        made = rng.choice(_MAKERS if number < 10 else _DOCUMENT_MAKERS)(rng, view)
        if made is not None:
            faults.append(made)
    if rng.random() < 0.3:
        how: Any = rng.choice(("kill", "twins", "pair", "lost", "again", "order", "order", "early", "fade"))
        faults.append(ProcessFault(how, rng.randint(2, 120) if how == "kill" else rng.choice((0, 600, 90_000))))
    # After all others, so that a seed keeps those that it had.
    if rng.random() < 0.1:
        faults.append(CapitalsFault(rng.choice(("recordingmetadata", "retention", "failed", "orphan"))))
    ids = _recording_ids(view)
    if rng.random() < 0.1 and len(ids) > 1:
        one, other = rng.sample(ids, 2)
        faults.append(SwapFault((one, other)))
    return Plan(world, tuple(faults))


def _node(rng: random.Random, view: View) -> Fault | None:
    sources = (
        "details",
        "details",
        "conversation",
        "recordingmetadata",
        "recordingmetadata",
        "retention",
        "failed",
        "orphan",
        "export_job",
    )
    source = rng.choice(sources)
    names = [name for name in view.documents if name[0] == source]
    if not names:
        return None
    source, key = rng.choice(names)
    paths = paths_of(view.documents[source, key])
    # Nodes that hold tags are worth more than others.
    tags = [path for path in paths if "attributes" in path]
    path = rng.choice(tags) if tags and rng.random() < 0.3 else rng.choice(paths)
    return NodeFault(source, key, path, rng.choice(JSON_VALUES))


def _answer(rng: random.Random, view: View) -> Fault:
    endpoint = rng.choice(ENDPOINTS)
    key = None
    if endpoint in {"conversation", "recordingmetadata", "customattributes"} and rng.random() < 0.8:
        key = rng.choice(view.world.conversations).id
    return AnswerFault(
        endpoint, key, rng.choice((0, 0, 0, 1)), rng.choice((1, 2, FOR_EVER)), rng.choice(sorted(_ANSWERS))
    )


def _recording_ids(view: View) -> list[str]:
    return [r.id for c in view.world.conversations for r in c.recordings if r.fate == "exported"]


def _object(rng: random.Random, view: View) -> Fault | None:
    ids = _recording_ids(view)
    names = (
        "missing", "pair missing", "empty", "no extension", "short sidecar name", "deeper", "foreign organisation",
        "conversation.json", "manifest.json", "transcript.json", "rec_123.opus", "x.flac", "../up.opus", "README.txt",
    )  # fmt: skip
    return ObjectFault(rng.choice(ids), rng.choice(names)) if ids else None


def _sidecar(rng: random.Random, view: View) -> Fault | None:
    ids = _recording_ids(view)
    return SidecarFault(rng.choice(ids), rng.choice(sorted(_BYTES))) if ids else None


def _page(rng: random.Random, view: View) -> Fault:
    return PageFault(rng.choice(sorted(view.listings)), rng.choice(("reversed", "repeated")))


def _foreign(rng: random.Random, view: View) -> Fault:
    conversation = "conversation_id=0e000000-0000-4000-8000-00000000000e"
    recording = "0e100000-0000-4000-8000-0000000000e1"
    return ForeignFault(
        rng.choice(
            (
                f"hour=3/{conversation}/{recording}.opus",
                f"hour=99/{conversation}/{recording}.opus",
                f"hour=3/conversation_id=not-an-id/{recording}.opus",
                f"hour=3/{recording}.opus",
                f"hour=3/{conversation}/{recording}",
                "hour=3/manifest.json",
                f"hour=3/{conversation}/",
            )
        )
    )


def _store(rng: random.Random, view: View) -> Fault:
    return StoreFault(
        rng.choice(("list", "publish", *_recording_ids(view))),
        rng.choice((0, 0, 1, 3)),
        rng.choice((1, 2, FOR_EVER)),
        rng.choice(sorted(_REFUSALS)),
    )


_DOCUMENT_MAKERS = (_node, _node, _node, _node, _object, _sidecar, _page)
_MAKERS = (_node, _node, _node, _answer, _answer, _object, _object, _sidecar, _page, _foreign, _store)


def paths_of(tree: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every node of a document, the document itself first."""
    found = [path]
    if isinstance(tree, dict):
        for key, value in tree.items():
            found += paths_of(value, (*path, key))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            found += paths_of(value, (*path, number))
    return found


ENDPOINTS = (
    "token", "me", "export_jobs", "export_job", "failed", "details_create", "details_poll", "details_poll",
    "details_results", "details_results", "availability", "conversation", "recordingmetadata", "recordingmetadata",
    "customattributes", "retention", "retention", "orphans", "queues", "scripts", "divisions",
)  # fmt: skip

JSON_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 5, Raw(b"1.10"), Raw(b"1E2"), Raw(b"1e999"), Raw(b"123456789012345678901234567890"),
    Raw(b"NaN"), Raw(b"-Infinity"), Raw(b'"\\ud83d"'), "x\ud83d", "\ude00", "\u0000", "a\u0000b", Raw(b'"\\u0000"'),
    "", " ", "null", "{}", {}, [], [[]], [1], {"a": 1}, {"": ""}, {"error": {"code": 1}}, ["x", None, {}], "x" * 40_000,
    "294247-01-10T04:00:54.775Z", "0001-01-01T00:00:00Z", "2025-13-45T99:99:99Z", "2025-03-04T09:00:00", "yesterday",
    "\u00e9", "\U0001f600", "../../etc/passwd", "'; drop table x; --", "tru\ne",
    Raw(b"[" * 3000 + b"]" * 3000), Raw(b'{"a":' * 3000 + b"1" + b"}" * 3000),
    Raw(b'{"Legal-Hold":"one","Legal-Hold":"two"}'), {"Legal-Hold": {"nested": ["deep"]}},
    {"Legal-Hold": Raw(b"1.10"), "Consent.Recorded": True}, {"Legal-Hold": "", "Consent.Recorded": " "},
)  # fmt: skip

_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "latin-1": lambda content: content.replace(b'"Edge"', b'"\xe9dge"'),
    "byte-order mark": lambda content: b"\xef\xbb\xbf" + content,
    "null": lambda _: b"null",
    "list": lambda _: b"[]",
    "object": lambda _: b"{}",
    "deep": lambda content: b'{"a":' * 5000 + content + b"}" * 5000,
    "far start": lambda content: content.replace(b'"startTime":"2025', b'"startTime":"294247'),
    "text duration": lambda content: content.replace(b'"durationMs":', b'"durationMs":"long","was":'),
    "negative duration": lambda content: content.replace(b'"durationMs":', b'"durationMs":-'),
    "duplicate key": lambda content: b'{"startTime":"2025-03-04T00:00:00.000+0000",' + content[1:],
    "both tag fields": lambda content: content[:-1] + b',"custom_data":{},"attributes":{"Sidecar-Tag":"1.10"}}',
    "tags as numbers": lambda content: content[:-1] + b',"attributes":{"Sidecar-Number":1.10,"Sidecar-Big":1E2}}',
    "NaN": lambda content: content[:-1] + b',"attributes":{"Sidecar-NaN":NaN}}',
    "surrogate": lambda content: content[:-1] + b',"attributes":{"Sidecar-Half":"\\ud83d"}}',
    "NUL": lambda content: content[:-1] + b',"attributes":{"Sidecar-Nul":"a\\u0000b"}}',
    "conversation document": lambda _: (
        b'{"conversationId":"x","startTime":5,"participants":[{"attributes":{"A":"b"}}]}'
    ),
    "random bytes": lambda _: bytes(range(256)),
}


def _status(status: int, code: str, *headers: tuple[str, str]) -> Callable[[Answer], Answer]:
    body = dump({"message": code, "code": code, "status": status, "contextId": "oracle"})
    return lambda _: Answer(status, body, headers)


def _shape(text: bytes) -> Callable[[Answer], Answer]:
    return lambda answer: Answer(200 if answer.status < 300 else answer.status, text)


_ANSWERS: dict[str, Callable[[Answer], Answer]] = {
    "400": _status(400, "bad.request"),
    "401": _status(401, "credentials.expired"),
    "403": _status(403, "missing.permissions"),
    "404": _status(404, "not.found"),
    "413": _status(413, "request.entity.too.large"),
    "429": _status(429, "too.many.requests"),
    "429 retry": _status(429, "too.many.requests.retry.after", ("Retry-After", "2")),
    "429 date": _status(429, "too.many.requests", ("Retry-After", "yesterday")),
    "500": _status(500, "internal.server.error"),
    "503": _status(503, "service.unavailable"),
    "504": _status(504, "request.timeout"),
    "short": lambda answer: Answer(answer.status, answer.body, short=True),
    "half": lambda answer: Answer(answer.status, answer.body[: len(answer.body) // 2]),
    "reset": lambda answer: Answer(answer.status, b"", reset=True),
    "html": lambda _: Answer(200, b"<html>proxy</html>", (("Content-Type", "text/html"),)),
    "nothing": lambda _: Answer(200, b""),
    "object": _shape(b"{}"),
    "list": _shape(b"[]"),
    "text": _shape(b'"text"'),
    "number": _shape(b"5"),
    "null": _shape(b"null"),
    "entities number": _shape(b'{"entities":5,"pageCount":"many","total":null}'),
    "entities null": _shape(b'{"entities":null,"pageCount":1}'),
    "items of another kind": _shape(b'{"entities":[5,null,"x",[]],"conversations":[5,null,"x",[]],"pageCount":1}'),
    "error inside": _shape(b'{"conversations":{"error":1},"entities":{"error":1}}'),
    "state list": _shape(b'{"state":[],"jobId":7,"id":{}}'),
    "expires text": _shape(b'{"access_token":"t","token_type":"bearer","expires_in":"soon"}'),
    "job failed": _shape(b'{"state":"FAILED","errorMessage":"x"}'),
    "job cancelled": _shape(b'{"state":"CANCELLED"}'),
    "job unknown": _shape(b'{"state":"DREAMING"}'),
    "deep": _shape(b"[" * 5000 + b"]" * 5000),
    "empty page with cursor": _shape(b'{"conversations":[],"entities":[],"cursor":"%s"}' % START.encode()),
}  # fmt: skip

_REFUSALS = {
    "access denied": Refusal(403, "AccessDenied"),
    "archived": Refusal(403, "InvalidObjectState"),
    "slow down": Refusal(503, "SlowDown"),
    "internal": Refusal(500, "InternalError"),
    "cut short": Refusal(200, "OK", short=True),
}
