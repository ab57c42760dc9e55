"""The properties of a night that ran, judged by the published files and by the answers of the sources.

Belongs here: the contract's promises (rows, verdicts, tags, seals) as predicates. Does not: the product's reasons for
them. Of the layout, the oracle knows only what the contract fixes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from json import scanner
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from custody_pipeline_tests.oracle.faults import (
    FOR_EVER,
    START,
    AnswerFault,
    ForeignFault,
    NodeFault,
    ObjectFault,
    PageFault,
    ProcessFault,
    StoreFault,
)
from custody_pipeline_tests.oracle.sources import cut
from custody_pipeline_tests.oracle.truth import NIGHT, REQUIRED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from custody_pipeline_tests.oracle.adapter import Ending
    from custody_pipeline_tests.oracle.faults import Plan
    from custody_pipeline_tests.oracle.sources import Served, View
    from custody_pipeline_tests.oracle.truth import Conversation, Recording

TABLES = ("chain_of_custody", "custom_data", "gaps", "custody_events", "reconciliation")
ENDS_WITH_0 = "exit status 0 only for an established night"
FAILED_ENDS_WITH_0 = "a night whose source failed does not end with 0"
SERVED_IS_PUBLISHED = "every served tag is in custom_data"
FAILED_ESTABLISHES = "a night whose source failed is not established"

LISTS = ("details_create", "details_poll", "details_results", "retention", "orphans", "export_jobs", "failed")
"""Sources that could contradict a night's completeness as a whole."""

# Times of observation, and values that moto makes anew: no content.
VOLATILE = {
    "custom_data_captured_at", "media_hashed_at", "object_version_id", "object_last_modified", "row_sha256",
    "observed_at", "document_uri", "revision", "recording_metadata_sha256", "conversation_sha256", "document_sha256",
    "evidence", "proofs", "occurred_at", "sequence", "source_uri",
}  # fmt: skip


@dataclass(frozen=True)
class Broken:
    """A property that does not hold; `where`: the conversation or the foreign object, if it is about one."""

    property: str
    detail: str
    where: str = ""


@dataclass
class Published:
    """The current state of a publish bucket: tables as rows, and the newest cut."""

    tables: dict[str, list[dict[str, Any]]]
    csv: dict[str, list[dict[str, str]]]
    cut: dict[str, Any]
    revision: int
    damaged: list[str] = field(default_factory=list)

    @property
    def established(self) -> bool:
        """The night claims to be complete."""
        return self.cut.get("complete") in {True, "established"}

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.tables["chain_of_custody"]

    def content(self) -> dict[str, list[str]]:
        """Each table's rows without times of observation, as sorted text: equal for equal nights."""
        return {
            name: sorted(
                json.dumps(
                    {key: value for key, value in row.items() if key not in VOLATILE}, default=str, sort_keys=True
                )
                for row in rows
            )
            for name, rows in self.tables.items()
            if name != "custody_events"
        }


def read_published(objects: dict[str, bytes]) -> Published | None:
    """The content of the publish bucket (key → bytes, without the prefix); None if no cut was published."""
    cuts = sorted(key for key in objects if key.startswith(f"cuts/date={NIGHT}/") and key.endswith("/cut.json"))
    if not cuts:
        return None
    newest = json.loads(objects[cuts[-1]])
    folder = cuts[-1].rpartition("/")[0]
    damaged = []
    for file in newest["files"]:
        found = objects.get(f"{folder}/{file['path']}")
        if found is None or len(found) != file["bytes"] or hashlib.sha256(found).hexdigest() != file["sha256"]:
            damaged.append(file["path"])
    tables: dict[str, list[dict[str, Any]]] = {}
    texts: dict[str, list[dict[str, str]]] = {}
    for name in TABLES:
        file = objects.get(f"parquet/{name}/date={NIGHT}/{name}.parquet")
        if file is None:
            damaged.append(f"parquet of {name}")
            tables[name] = []
        else:
            tables[name] = pq.read_table(io.BytesIO(file)).to_pylist()
        text = objects.get(f"csv/{name}/date={NIGHT}/{name}.csv", b"").decode()
        texts[name] = list(csv.DictReader(io.StringIO(text, newline="")))
    return Published(tables, texts, newest, len(cuts), damaged)


class Token(str):
    """A number as its document wrote it."""

    __slots__ = ()


class _AnyDepth(json.JSONDecoder):
    """Python 3.12's own scanner, in C, refuses 3,000 levels whatever the limit; the one in Python knows the limit."""

    def __init__(self) -> None:
        super().__init__(parse_int=Token, parse_float=Token, strict=False)
        self.scan_once = scanner.py_make_scanner(self)  # type: ignore[attr-defined]


def lenient(body: bytes) -> Any:
    """A document, read as leniently as Python can; None if it is unreadable."""
    try:
        text = body.decode("utf-8-sig", "surrogateescape")
        with suppress(RecursionError):
            return json.loads(text, parse_int=Token, parse_float=Token, strict=False)
        return _AnyDepth().decode(text)
    except (ValueError, RecursionError):
        return None


@dataclass
class Evidence:
    """What the sources served, read leniently: ids of recordings by source, and tags by conversation."""

    recordings: dict[str, set[str]] = field(default_factory=dict)
    flags: set[tuple[str, str]] = field(default_factory=set)
    tags: dict[str, list[tuple[str, str, Any]]] = field(default_factory=dict)
    pairs: dict[str, list[Any]] = field(default_factory=dict)
    names: dict[str, list[Any]] = field(default_factory=dict)
    """Names of users by id."""
    unreadable: list[str] = field(default_factory=list)
    halved: set[str] = field(default_factory=set)
    """Conversations whose bulk document holds half a surrogate pair: RFC 8259 lets a parser refuse the document."""

    def add(self, source: str, recording: object) -> None:
        if isinstance(recording, str):
            self.recordings.setdefault(source, set()).add(recording.lower())

    def add_tags(self, conversation: str, participants: object, id_name: str) -> None:
        for participant in participants if isinstance(participants, list) else []:
            if not isinstance(participant, dict):
                continue
            attributes = participant.get("attributes")
            for key, value in attributes.items() if isinstance(attributes, dict) else ():
                self.tags.setdefault(conversation, []).append((str(participant.get(id_name)), key, value))
                self.pairs.setdefault(key, []).append(value)


@contextmanager
def _deep_documents() -> Iterator[None]:
    """A page is read whole here: one item with thousands of levels must not hide the others."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@_deep_documents()
def collect(served: list[Served], view: View) -> Evidence:
    """Everything that the night could learn from the answers and the bucket."""
    evidence = Evidence()
    for answer in served:
        if answer.status != 200:
            continue
        tree = lenient(answer.body)
        items = (
            tree.get("conversations" if answer.endpoint == "details_results" else "entities")
            if isinstance(tree, dict)
            else tree
        )
        items = items if isinstance(items, list) else []
        match answer.endpoint:
            case "details_results":
                for item in items:
                    _collect_details(evidence, item)
            case "conversation" if isinstance(tree, dict):
                evidence.add_tags(answer.key, tree.get("participants"), "id")
            case "recordingmetadata":
                for item in items:
                    evidence.add(answer.endpoint, item.get("id") if isinstance(item, dict) else None)
            case "retention":
                for item in items:
                    evidence.add(answer.endpoint, item.get("recordingId") if isinstance(item, dict) else None)
            case "users":
                for item in items:
                    if isinstance(item, dict):
                        evidence.names.setdefault(str(item.get("id")), []).append(item.get("name"))
            case "orphans":
                for item in items:
                    evidence.add(answer.endpoint, item.get("id") if isinstance(item, dict) else None)
            case "failed":
                for item in items:
                    recording = item.get("recording") if isinstance(item, dict) else None
                    evidence.add(answer.endpoint, recording.get("id") if isinstance(recording, dict) else None)
            case _:
                pass
    for name, content in view.objects.items():
        if not name.endswith(".json"):
            evidence.add("bucket", name.rpartition("/")[2].partition(".")[0])
        else:
            tree = lenient(content)
            for part in ("attributes", "custom_data"):
                found = tree.get(part) if isinstance(tree, dict) else None
                for key, value in found.items() if isinstance(found, dict) else ():
                    evidence.pairs.setdefault(key, []).append(value)
            if isinstance(tree, dict):
                evidence.add_tags(str(tree.get("conversationId")), tree.get("participants"), "id")
    return evidence


def _collect_details(evidence: Evidence, item: object) -> None:
    if not isinstance(item, dict) or not isinstance(item.get("conversationId"), str):
        evidence.unreadable.append("details")
        return
    conversation = item["conversationId"]
    # Not `dumps`, whose encoder in C has a limit of its own in Python 3.12.
    if not all(map(_is_utf8, json.JSONEncoder(ensure_ascii=False).iterencode(item))):
        evidence.halved.add(conversation)
    evidence.add_tags(conversation, item.get("participants"), "participantId")
    participants = item.get("participants")
    for participant in participants if isinstance(participants, list) else []:
        if not isinstance(participant, dict):
            continue
        sessions = participant.get("sessions")
        for session in sessions if isinstance(sessions, list) else []:
            if isinstance(session, dict) and session.get("recording") is True:
                evidence.flags.add(("audio", str(session.get("sessionId"))))
            if isinstance(session, dict) and participant.get("screenRecording") is True:
                evidence.flags.add(("screen", str(session.get("sessionId"))))


@dataclass
class Run:
    """One night that ran: what was planned, how it ended, what was served and what was published."""

    plan: Plan
    view: View
    ending: Ending
    served: list[Served]
    published: Published | None


def judge(run: Run) -> list[Broken]:
    """Every property of a single run that does not hold."""
    found = list(_ending(run))
    if run.published is None:
        return found
    evidence = collect(run.served, run.view)
    for check in (
        _seal,
        _arithmetic,
        _one_row,
        _sidecars,
        _everything_has_a_row,
        _complete_rows,
        _failures_are_reported,
        _calm,
        _neighbours,
        _asked,
        _totals,
        _store_failures_are_reported,
        _foreign,
        _texts,
        _named,
    ):
        found += check(run, evidence)
    found += _verbatim(run, evidence)
    found += _forward(run, evidence)
    found += _conflicts(run, evidence)
    return found


def faded(first: Run, second: Run, conversation: str) -> list[Broken]:
    """What does not hold of a second night in one home, after every source lost a conversation that the first had."""
    found = list(_ending(second))
    if first.published is None or second.published is None:
        return found
    nothing = Evidence()
    found += [broken for check in (_seal, _arithmetic, _one_row, _texts) for broken in check(second, nothing)]
    had = {row["recording_id"] for row in first.published.rows if row["conversation_id"] == conversation}
    rows = {row["recording_id"]: row for row in second.published.rows if row["conversation_id"] == conversation}
    if lost := had - rows.keys():
        found.append(Broken("a recording that a night had keeps its row", str(sorted(lost)), conversation))
    if silent := [name for name, row in rows.items() if row["custody_status"] == "complete"]:
        found.append(Broken("no complete row lacks media", f"{silent} are gone", conversation))
    return found


def _lasting(run: Run) -> list[Served]:
    """Answers that stayed broken: the last answer of an endpoint and key."""
    last = {(answer.endpoint, answer.key): answer for answer in run.served}
    # An empty page that leads to the beginning of its list loses nothing.
    begun_anew = {endpoint for (endpoint, key), answer in last.items() if key == START and not answer.broken}
    return [
        answer
        for answer in last.values()
        if answer.broken and not (START.encode() in answer.body and answer.endpoint in begun_anew)
    ]


def _ending(run: Run) -> Iterator[Broken]:
    ending = run.ending
    if ending.timed_out:
        yield Broken("a night ends", "still running after the limit")
        return
    if ending.exception:
        yield Broken("no traceback leaves the command", ending.exception.strip().splitlines()[-1][:300])
        return
    text = ending.stdout + ending.stderr
    if "Traceback (most recent call last)" in text:
        yield Broken("no traceback is printed", text.strip().splitlines()[-1][:300])
    if ending.status is None:
        yield Broken("a night ends", "its process died without an exit status")
    elif ending.status not in {0, 1, 2}:
        yield Broken("exit status is 0, 1 or 2", f"{ending.status}: {text.strip()[-300:]}")
    if run.published is None:
        if ending.status == 0:
            yield Broken("a night that published nothing does not end with 0", text.strip()[-300:])
        if ending.status == 1:
            yield Broken("a night with findings is published, and says so", text.strip()[-400:])
        elif not run.plan.counts_requests:
            yield Broken("no document and no object stops a night", text.strip()[-400:])
    elif not run.plan.world.api and run.published.established:
        yield Broken("a bucket-only night is not established", f"complete is {run.published.cut.get('complete')!r}")
    elif ending.status == 0 and not run.published.established and run.plan.world.api:
        yield Broken(ENDS_WITH_0, f"complete is {run.published.cut.get('complete')!r}")


def _seal(run: Run, _: Evidence) -> Iterator[Broken]:
    assert run.published is not None
    for path in run.published.damaged:
        yield Broken("cut.json lists every file as it is", path)


def _arithmetic(run: Run, _: Evidence) -> Iterator[Broken]:
    assert run.published is not None
    total = 0
    for row in run.published.tables["reconciliation"]:
        numbers = [row[name] for name in ("expected", "present", "explained", "unexplained")]
        if any(number is None for number in numbers):
            continue
        if min(numbers) < 0 or numbers[0] != sum(numbers[1:]):
            yield Broken("expected = present + explained + unexplained", f"{row['source']}: {numbers}")
        total += numbers[3]
    if total and run.published.established:
        yield Broken("an established night has nothing unexplained", f"{total} unexplained")


def _one_row(run: Run, _: Evidence) -> Iterator[Broken]:
    assert run.published is not None
    ids = [(row["conversation_id"], row["recording_id"]) for row in run.published.rows]
    for pair in {pair for pair in ids if ids.count(pair) > 1}:
        yield Broken("one recording has one row", str(pair))
    known = {r.id: c for c in run.plan.world.conversations for r in c.recordings}
    by_recording: dict[str, set[str]] = {}
    for conversation_id, recording_id in ids:
        if recording_id in known:
            by_recording.setdefault(recording_id, set()).add(conversation_id)
    for _, recording_id in ids:
        if recording_id not in known and recording_id.lower() in known:
            yield Broken("an id has one spelling", recording_id)
    for recording_id, conversations in by_recording.items():
        if len(conversations) > 1 and not _moved(run, known[recording_id]):
            yield Broken("one recording has one row", f"{recording_id} in {len(conversations)} conversations")


def _sidecars(run: Run, _: Evidence) -> Iterator[Broken]:
    assert run.published is not None
    complete = {row["recording_id"] for row in run.published.rows if row["custody_status"] == "complete"}
    for name, content in run.view.objects.items():
        recording = name.rpartition("/")[2].partition(".")[0].removesuffix("_metadata")
        tree = lenient(content) if name.endswith(".json") else None
        named = tree.get("recordingId") if isinstance(tree, dict) else None
        if isinstance(named, str) and named.lower() != recording.lower() and recording in complete:
            yield Broken("no complete row has the sidecar of another recording", recording)


def _moved(run: Run, conversation: Conversation) -> bool:
    """A fault changed an id or a time of the conversation: it may count as another one, or be of another night."""
    ids = {conversation.id, *(recording.id for recording in conversation.recordings)}
    names = {
        "conversationId",
        "conversationStart",
        "conversationEnd",
        "startTime",
        "id",
        "recordingId",
        "conversation",
        "recording",
    }
    return any(
        isinstance(fault, NodeFault)
        and fault.key in ids
        and (not fault.path or not names.isdisjoint(map(str, fault.path)))
        for fault in run.plan.faults
    ) or any(
        isinstance(fault, ObjectFault) and fault.key in ids and fault.how == "foreign organisation"
        for fault in run.plan.faults
    )


def _broken(run: Run) -> set[str | None]:
    """What a document with a broken node is about."""
    return {fault.key for fault in run.plan.faults if isinstance(fault, NodeFault)}


def _in_bucket(run: Run, recording: Recording) -> bool:
    """The bucket has media of the recording, with content."""
    names = [name for name in run.view.objects if name.rpartition("/")[2].partition(".")[0] == recording.id]
    return any(run.view.objects[name] for name in names if not name.endswith(".json"))


def _recognised(run: Run, recording: Recording) -> bool:
    """The recording's object has the name and the folder that the platform gives it."""
    return any(f"/{recording.id}{recording.extension}" in name and "/part=" not in name for name in run.view.objects)


def _everything_has_a_row(run: Run, evidence: Evidence) -> Iterator[Broken]:
    assert run.published is not None
    rows = run.published.rows
    # An orphan's or a session's row may carry its kind before the id.
    ids = " ".join(row["recording_id"] or "" for row in rows)
    for conversation in run.plan.world.conversations:
        mine = [row for row in rows if row["conversation_id"] == conversation.id]
        if not conversation.of_the_night:
            # When the call began stands in a document that may be unreadable.
            unread = conversation.id in _broken(run) and not run.published.established
            # A job lists failed recordings without their time: if the conversation is unreadable too, no source has it.
            failed = {recording.id for recording in conversation.recordings if recording.fate == "failed"}
            unread |= conversation.readable != "yes" and {row["recording_id"] for row in mine} <= failed
            if mine and not unread and not _moved(run, conversation):
                yield Broken("a recording of another night has no row in this one", conversation.id, conversation.id)
            continue
        for recording in conversation.recordings:
            if recording.id in ids:
                continue
            sources = sorted(name for name, ids in evidence.recordings.items() if recording.id in ids)
            if (recording.kind, recording.session_id) in evidence.flags:
                sources.append("details flag")
            if "bucket" in sources and not _moved(run, conversation) and _recognised(run, recording):
                yield Broken(
                    "an exported object is never without a row",
                    f"{recording.kind} {recording.id}",
                    conversation.id,
                )
                continue
            if not sources or not run.published.established:
                continue
            stands_for_it = any(
                row["custody_status"] != "complete"
                and (row["session_id"] == recording.session_id or recording.session_id in (row["recording_id"] or ""))
                for row in mine
            )
            stands_for_it |= _is_counted(conversation, recording, mine)
            if not stands_for_it and not (_moved(run, conversation) and "bucket" not in sources):
                yield Broken(
                    "every recording that a source shows has a row, or the night is not established",
                    f"{recording.kind} {recording.id} ({recording.fate}) is shown by {', '.join(sources)}",
                    conversation.id,
                )


def _is_counted(conversation: Conversation, recording: Recording, rows: list[dict[str, Any]]) -> bool:
    """Whether as many rows stand for sessions as recordings of this kind have none.

    An archived recording names no session, so that nobody can tell which session is the one without a recording.
    """
    of_kind = [other for other in conversation.recordings if other.kind == recording.kind]
    ids = {row["recording_id"] for row in rows}
    counted = [row for row in rows if (row["recording_id"] or "").startswith("session:")]
    return (
        recording.kind == "audio"
        and any(other.fate == "archived" for other in of_kind)
        and len(counted) >= sum(other.id not in ids for other in of_kind)
        and all(row["custody_status"] != "complete" for row in counted)
    )


def _complete_rows(run: Run, evidence: Evidence) -> Iterator[Broken]:
    assert run.published is not None
    recordings = {recording.id: recording for c in run.plan.world.conversations for recording in c.recordings}
    for row in run.published.rows:
        if row["custody_status"] != "complete":
            continue
        recording = recordings.get(row["recording_id"])
        if recording is not None and not _in_bucket(run, recording):
            yield Broken(
                "no complete row lacks media",
                f"{recording.kind} {recording.id} ({recording.fate})",
                row["conversation_id"],
            )
        tags = evidence.tags.get(row["conversation_id"], [])
        for key in REQUIRED:
            values = [value for _, name, value in tags if name == key]
            values += evidence.pairs.get(key, []) if not tags else []
            if not any(_says_something(value) for value in values):
                yield Broken(
                    "no complete row lacks a required tag",
                    f"{key} of {row['recording_id']}: served {values[:4]!r}",
                    row["conversation_id"],
                )


def _says_something(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value is not None


def _failures_are_reported(run: Run, _: Evidence) -> Iterator[Broken]:
    assert run.published is not None
    for answer in _lasting(run):
        if answer.endpoint in LISTS:
            what = f"{answer.endpoint} {_how(run, answer)}"
            if run.published.established:
                yield Broken(FAILED_ESTABLISHES, what)
            if run.ending.status == 0:
                yield Broken(FAILED_ENDS_WITH_0, what)
        elif answer.endpoint == "recordingmetadata":
            rows = [row for row in run.published.rows if row["conversation_id"] == answer.key]
            complete = [row for row in rows if row["custody_status"] == "complete"]
            if run.published.established and len(complete) == len(rows):
                yield Broken(
                    "a conversation whose source failed is not wholly complete",
                    f"{answer.endpoint} {_how(run, answer)}",
                    answer.key,
                )


def _calm(run: Run, _: Evidence) -> Iterator[Broken]:
    """A night without faults is reported as such: a product that only complains has all other properties."""
    assert run.published is not None
    if not run.plan.world.calm or any(not isinstance(fault, PageFault | ProcessFault) for fault in run.plan.faults):
        return
    for row in run.published.rows:
        if row["custody_status"] != "complete":
            yield Broken(
                "a recording with nothing wrong is complete",
                f"{row['media_type']} {row['recording_id']}: {row['gap_reasons']}",
                row["conversation_id"],
            )
    # A job counts recordings of calls that began the evening before, too. This warehouse has no other night, so the
    # total proves nothing: the night is not established, for this reason alone.
    counts_others = any(
        not conversation.of_the_night and conversation.recordings for conversation in run.plan.world.conversations
    )
    short = {part["source"] for part in run.published.cut["coverage"] if part["needed"] and part["state"] != "whole"}
    complete = run.published.cut.get("complete")
    if short != ({"export_jobs"} if counts_others else set()):
        yield Broken("a night with nothing wrong has whole sources", f"not whole: {sorted(short)}")
    if (run.published.established, run.ending.status) != ((False, 1) if counts_others else (True, 0)):
        yield Broken("a night with nothing wrong is established", f"complete {complete!r}, exit {run.ending.status}")


def _store_failures_are_reported(run: Run, _: Evidence) -> Iterator[Broken]:
    assert run.published is not None
    for fault in run.plan.faults:
        if not isinstance(fault, StoreFault) or fault.count != FOR_EVER or fault.first:
            continue
        if fault.target == "list":
            if run.published.established:
                yield Broken(FAILED_ESTABLISHES, f"listing of the bucket {fault.how!r}")
            if run.ending.status == 0:
                yield Broken(FAILED_ENDS_WITH_0, f"listing of the bucket {fault.how!r}")
        for row in run.published.rows:
            if row["recording_id"] == fault.target and row["custody_status"] == "complete":
                yield Broken(
                    "no complete row has media that could not be read",
                    f"{fault.target} {fault.how!r}",
                    row["conversation_id"],
                )


def _how(run: Run, answer: Served) -> str:
    faults = [f for f in run.plan.faults if isinstance(f, AnswerFault) and f.endpoint == answer.endpoint]
    return ", ".join(f"{fault.how!r} {'for ever' if fault.count == FOR_EVER else fault.count}" for fault in faults)


# A recording of a conversation that began the evening before lies in the folder of that evening's night.
_OF_THE_NIGHT = re.compile(f"/year={NIGHT.year}/month=0?{NIGHT.month}/day=0?{NIGHT.day}/")


def _foreign(run: Run, _: Evidence) -> Iterator[Broken]:
    assert run.published is not None
    homes = {recording.id: c.id for c in run.plan.world.conversations for recording in c.recordings}
    published = json.dumps([run.published.tables["chain_of_custody"], run.published.tables["gaps"]], default=str)
    for fault in run.plan.faults:
        name = fault.name if isinstance(fault, ForeignFault) else fault.how if isinstance(fault, ObjectFault) else ""
        if name.endswith(("conversation.json", "manifest.json", "transcript.json", "README.txt")):
            stem = name.rpartition("/")[2].partition(".")[0]
            for row in run.published.rows:
                if row["recording_id"] in {stem, f"{stem}.json"}:
                    yield Broken(
                        "a helper document is no recording",
                        f"{name} has a row",
                        homes.get(getattr(fault, "key", ""), ""),
                    )
        elif name.endswith((".opus", ".flac")) or (name and isinstance(fault, ForeignFault) and not name.endswith("/")):
            file = name.rpartition("/")[2]
            planted = any(key.endswith(f"/{file}") and _OF_THE_NIGHT.search(key) for key in run.view.objects)
            if planted and run.published.established and file not in published:
                yield Broken("an object that is no known recording has a row of its own", name, name)


def _texts(run: Run, _: Evidence) -> Iterator[Broken]:
    assert run.published is not None
    for name in TABLES:
        rows, texts = run.published.tables[name], run.published.csv[name]
        if len(rows) != len(texts):
            yield Broken("CSV and Parquet hold the same rows", f"{name}: {len(rows)} and {len(texts)}")
            continue
        for row, text in zip(rows, texts, strict=True):
            for column, value in row.items():
                if isinstance(value, str) and text.get(column) != value:
                    yield Broken(
                        "CSV is verbatim", f"{name}.{column}: {value[:60]!r} is {str(text.get(column))[:60]!r}"
                    )
                    return


def _equal(published: str | None, served: Any) -> bool:
    """A published value equals the served value: text unchanged, numbers as written, other values as JSON."""
    if published is None:
        return served is None
    if isinstance(served, str):
        return published == str(served)
    if isinstance(served, float):
        return published in {"NaN", "Infinity", "-Infinity"}
    if served is None:
        return published == "null"
    try:
        return bool(json.loads(published, parse_int=Token, parse_float=Token) == served)
    except ValueError:
        return False


def _verbatim(run: Run, evidence: Evidence) -> Iterator[Broken]:
    assert run.published is not None
    for row in run.published.tables["custom_data"]:
        served = evidence.pairs.get(row["tag_key"], [])
        if any(_equal(row["tag_value"], value) for value in served):
            continue
        if any(isinstance(value, str) and not _is_utf8(value) for value in served):
            continue  # half a surrogate pair has no UTF-8: its form in a table is not judged here
        yield Broken(
            "every published tag value was served",
            f"{row['source']} {row['tag_key'][:40]!r}: {str(row['tag_value'])[:60]!r}, "
            f"served {[str(value)[:60] for value in served[:4]]!r}",
            row["conversation_id"],
        )
    for row in run.published.rows:
        if row["custom_data"] is None:
            continue
        for key, value in json.loads(row["custom_data"], parse_int=Token, parse_float=Token).items():
            served = evidence.pairs.get(key, [])
            if not any(
                value == other or _equal(value, other) if isinstance(value, str) else value == other for other in served
            ):
                if any(isinstance(other, str) and not _is_utf8(other) for other in served):
                    continue
                yield Broken(
                    "every resolved tag was served", f"{key[:40]!r}: {str(value)[:60]!r}", row["conversation_id"]
                )


def _named(run: Run, evidence: Evidence) -> Iterator[Broken]:
    """Each agent's name is beside the id for which it was served."""
    assert run.published is not None
    calm = not run.plan.faults
    for row in (*run.published.rows, *run.published.tables["gaps"]):
        ids = row["user_ids"] or []
        names = [None] * len(ids) if row["agent_names"] is None else row["agent_names"]
        if len(names) != len(ids):
            yield Broken("each agent has one name", f"{ids}: {names}", row["conversation_id"])
            continue
        for user, name in zip(ids, names, strict=True):
            served = evidence.names.get(str(user), [])
            if name is None and calm and served:
                yield Broken("an agent whose name was served is named", str(user), row["conversation_id"])
            if name is not None and not any(_equal(name, one) for one in served):
                if any(isinstance(one, str) and not _is_utf8(one) for one in served):
                    continue
                yield Broken("every agent's name was served", f"{user}: {name[:60]!r}", row["conversation_id"])


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _forward(run: Run, evidence: Evidence) -> Iterator[Broken]:
    """Every tag of an unbroken document is in custom_data, under its participant."""
    assert run.published is not None
    broken = _broken(run)
    held = {
        (row["conversation_id"], row["participant_id"], row["tag_key"], row["tag_value"])
        for row in run.published.tables["custom_data"]
    }
    with_rows = {row["conversation_id"] for row in run.published.rows}
    for conversation_id, tags in evidence.tags.items():
        if conversation_id not in with_rows or conversation_id in broken:
            continue
        for participant, key, value in tags:
            if conversation_id in evidence.halved and (participant, key) in {
                (leg, name) for leg, name, whole in tags if isinstance(whole, str) and cut(whole) == value != whole
            }:
                continue
            if (
                isinstance(value, str)
                and _is_utf8(value)
                and (conversation_id, participant, key, str(value)) not in held
            ):
                yield Broken(
                    SERVED_IS_PUBLISHED,
                    f"{key[:40]!r}: {value[:60]!r} of participant {participant}",
                    conversation_id,
                )
    # Two legs may have the same key: the whole value of one may equal the cut value of the other.
    whole: dict[tuple[str, str], list[Any]] = {}
    for c in run.plan.world.conversations:
        for tag in (tag for leg in c.legs for tag in leg.tags):
            whole.setdefault((c.id, tag.key), []).append(tag.value)
    for row in run.published.rows:
        if row["custom_data"] is None or "TAG_TRUNCATED" in (row["gap_reasons"] or []):
            continue
        for key, value in json.loads(row["custom_data"]).items():
            values = whole.get((row["conversation_id"], key), [])
            if value not in values and any(len(full) >= 1024 and value == cut(full) for full in values):
                yield Broken(
                    "a tag that was cut is whole, or is called TAG_TRUNCATED",
                    f"{key} of {row['recording_id']}",
                    row["conversation_id"],
                )


def _asked(run: Run, _: Evidence) -> Iterator[Broken]:
    """An established night has asked every source: each recording that a source shows has a row."""
    assert run.published is not None
    if not run.published.established or not run.plan.world.api:
        return
    ids = " ".join(row["recording_id"] or "" for row in run.published.rows)
    named = {source: {key for _, key in run.view.listings[source]} for source in ("retention", "orphans", "failed")}
    for conversation in run.plan.world.conversations:
        if not conversation.of_the_night or _moved(run, conversation):
            continue
        listed = named["retention"] | named["failed"]
        # An orphan names no conversation: one that was recorded after midnight belongs to the next night.
        listed |= {
            item.id for item in conversation.recordings if item.id in named["orphans"] and item.start.date() == NIGHT
        }
        metadata = run.view.documents["recordingmetadata", conversation.id]
        if ("recordingmetadata", conversation.id) in run.view.refused or not isinstance(metadata, list):
            metadata = []
        listed |= {item["id"] for item in metadata if isinstance(item, dict) and isinstance(item.get("id"), str)}
        for recording in conversation.recordings:
            if recording.id in listed and recording.id not in ids:
                yield Broken(
                    "an established night has asked every source that could contradict it",
                    f"{recording.kind} {recording.id} ({recording.fate}) has no row",
                    conversation.id,
                )


def _totals(run: Run, _: Evidence) -> Iterator[Broken]:
    """An export job that states far more recordings than are known contradicts an established night."""
    assert run.published is not None
    known = sum(len(conversation.recordings) for conversation in run.plan.world.conversations)
    for answer in run.served:
        tree = lenient(answer.body) if answer.endpoint == "export_job" and answer.status == 200 else None
        total = tree.get("totalRecordings") if isinstance(tree, dict) else None
        if isinstance(total, Token) and total.isdigit() and int(total) > known and run.published.established:
            yield Broken(
                "a night whose totals disagree is not established", f"the job states {total}, known are {known}"
            )
            return


def _neighbours(run: Run, _: Evidence) -> Iterator[Broken]:
    """Readable bulk details are read, whatever else the job contains: only they have the numbers."""
    assert run.published is not None
    if run.plan.counts_requests or not run.plan.world.api:
        return
    broken = _broken(run)
    shown = {key for _, key in run.view.listings["details"]}
    for conversation in run.plan.world.conversations:
        # The job of this night leaves out what began before it.
        if (
            conversation.id not in shown - broken
            or not conversation.of_the_night
            or conversation.legs[0].media_type != "voice"
        ):
            continue
        if any(cut(tag.value) != tag.value for leg in conversation.legs for tag in leg.tags):
            continue  # half a surrogate pair may be left in it
        for row in run.published.rows:
            if row["conversation_id"] == conversation.id and row["ani"] is None:
                yield Broken("one document takes no other with it", f"no ani of {row['recording_id']}", conversation.id)
                return


def _conflicts(run: Run, evidence: Evidence) -> Iterator[Broken]:
    """If the one agent and the customer have different values of a mapped tag, each of their recordings says so."""
    assert run.published is not None
    read = {(row["participant_id"], row["tag_key"]) for row in run.published.tables["custom_data"]}
    for conversation in run.plan.world.conversations:
        agents = [leg for leg in conversation.legs if leg.purpose == "agent"]
        if len(agents) != 1:
            continue
        customer = next(leg for leg in conversation.legs if leg.purpose == "customer")
        served = evidence.tags.get(conversation.id, [])
        for key in REQUIRED:
            by_leg = {
                leg.purpose: {
                    str(value)
                    for p, k, value in served
                    if p == leg.participant_id and k == key and isinstance(value, str)
                }
                for leg in (agents[0], customer)
            }
            if any(len(values) != 1 for values in by_leg.values()):
                continue
            if any((leg.participant_id, key) not in read for leg in (agents[0], customer)):
                continue  # every document with it is broken; `_forward` reports all other cases
            one, other = by_leg["agent"].pop(), by_leg["customer"].pop()
            if not one.strip() or not other.strip() or one == other or not _is_utf8(one + other):
                continue
            for row in run.published.rows:
                if row["conversation_id"] == conversation.id and "TAG_CONFLICT" not in (row["gap_reasons"] or []):
                    yield Broken(
                        "a conflict on a mapped tag is named",
                        f"{key}: agent {one!r}, customer {other!r}",
                        conversation.id,
                    )
