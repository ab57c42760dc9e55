"""No value in any document stops a night, or affects another conversation.

The documents are those of the oracle, written from the platform's documentation. Any node of one becomes any JSON
value, or what is not even that. Hundreds of such documents are in one night: a night takes seconds.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.conversations import collect_conversations, collect_details
from custody_pipeline.extract.export_keys import parse_key
from custody_pipeline.extract.exports import collect_exports
from custody_pipeline.extract.genesys import Answer, GenesysClient
from custody_pipeline.extract.genesys_errors import NotFound
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.extract.recordings import collect_recordings
from custody_pipeline.io.clock import utc_now
from custody_pipeline.load.pipeline import load
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.pending_reads import conversations_to_read, recordings_to_read
from custody_pipeline.night import Night, check, is_blocking, model
from custody_pipeline.publish.tables import describe_table, export_table
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES
from custody_pipeline_tests import ready_warehouse
from custody_pipeline_tests.oracle.faults import JSON_VALUES, NodeFault, paths_of
from custody_pipeline_tests.oracle.sources import (
    EXPORTED_AT,
    JOB_ID,
    Organisation,
    Raw,
    View,
    dump,
    object_key,
    show,
)
from custody_pipeline_tests.oracle.truth import NIGHT, Conversation, Fate, Leg, Recording, Tag, World

NEIGHBOURS = 6
MAX_DEPTH = 3
SOURCES = {
    "details": "conversation_details",
    "conversation": "conversations",
    "recordingmetadata": "recording_metadata",
    "sidecar": "export_sidecars",
    "manifest": "export_manifests",
    "failed": "export_failures",
    "orphan": "orphan_recordings",
    "export_job": "export_jobs",
}
"""Source → the raw table of its documents."""

TAGS = (Tag("Legal-Hold", "true"), Tag("Consent.Recorded", "true"), Tag("Disposition", "Resolved"))
FATES: tuple[Fate, ...] = ("exported", "failed", "orphan")


def _id(kind: str, number: int) -> str:
    return f"{kind}0000000-0000-4000-8000-{number:012d}"


def a_call(number: int) -> Conversation:
    """A call of a customer, a flow and an agent whose screen was recorded; one recording failed, one is an orphan."""
    start = datetime(NIGHT.year, NIGHT.month, NIGHT.day, 9, tzinfo=UTC) + timedelta(seconds=number)
    end = start + timedelta(minutes=5)
    sessions = [_id("5", 3 * number + place) for place in range(3)]
    legs = (
        Leg(_id("f", 3 * number), "customer", sessions[0], "voice", tags=TAGS, audio_recorded=True),
        Leg(_id("f", 3 * number + 1), "ivr", sessions[1], "voice", peer_id=sessions[0], flow_id=_id("7", 1)),
        Leg(
            _id("f", 3 * number + 2), "agent", sessions[2], "voice", peer_id=sessions[0], user_id=_id("a", 1),
            queue_id=_id("d", 1), script_id=_id("e", 1), tags=TAGS, screen_recorded=True,
        ),
    )  # fmt: skip
    recordings = tuple(
        Recording(_id("b", 10 * number + place), "audio", sessions[0], start, end, fate, ".opus", "Trunk")
        for place, fate in enumerate(FATES)
    )
    return Conversation(_id("c", number), start, end, "inbound", legs, recordings)


def a_world(numbers: Iterable[int]) -> World:
    calls = tuple(map(a_call, numbers))
    return World(0, _id("0", 1), calls, True, "bucket", "all", False, 100, (_id("d", 1),), (_id("e", 1),))


@dataclass(frozen=True)
class Mutant:
    """A node of a document, and its new value."""

    source: str
    path: tuple[str | int, ...]
    value: Any

    def apply(self, view: View, number: int) -> None:
        """Put it into the document of call `number`."""
        NodeFault(self.source, document_id(self.source, number), self.path, self.value).apply(view)

    def __str__(self) -> str:
        return f"{self.source} {self.path} becomes {dump(self.value)[:300]!r}"


Mutants = Mapping[int, list[Mutant]]
"""Number of a call → mutants, each of another of its documents."""


def document_id(source: str, number: int) -> str:
    """Id of the call's document of this source."""
    match source:
        case "details" | "conversation" | "recordingmetadata":
            return _id("c", number)
        case "sidecar":
            return _id("b", 10 * number)
        case "failed":
            return _id("b", 10 * number + 1)
        case "orphan":
            return _id("b", 10 * number + 2)
        case _:
            return _id("9", number)


def a_view(numbers: Iterable[int], mutants: Mutants) -> View:
    """The oracle's documents of these calls, and for each a manifest of the gateway and an export job, with mutants."""
    view = show(a_world(numbers))
    jobs = [("export_job", JOB_ID)]
    for call, number in zip(view.world.conversations, numbers, strict=True):
        media = object_key(view.world, call, call.recordings[0])
        entry = {"conversationId": call.id, "recordingId": call.recordings[0].id, "custom_data": {"Legal-Hold": "true"}}
        view.documents["manifest", _id("9", number)] = {"id": _id("9", number), "entities": [entry]}
        view.documents["export_job", _id("9", number)] = view.documents[jobs[0]] | {"id": _id("9", number)}
        view.documents["sidecar", call.recordings[0].id] = json.loads(view.objects[f"{media}_metadata.json"])
        for mutant in mutants.get(number, ()):
            mutant.apply(view, number)
            if mutant.source == "export_job":
                jobs.append(("export_job", _id("9", number)))
        view.objects[f"{media}_metadata.json"] = dump(view.documents["sidecar", call.recordings[0].id])
    view.listings["export_jobs"] = jobs
    return view


class Vendor(GenesysClient):
    """The organisation's answers without a server between."""

    def __init__(self, settings: Settings, view: View) -> None:
        super().__init__(settings, sleep=lambda _: None)
        self._organisation = Organisation(view)

    def _api(self, method: str, path: str, **arguments: Any) -> Answer:
        url = f"{path}?{urlencode(arguments.get('params', {}))}"
        answer = self._organisation.answer(method, url, arguments.get("data", b""))
        if answer.status >= 300:
            raise NotFound(f"{method} {path}", "not found", status=answer.status)
        return Answer(f"{method} {path}", answer.body, answer.status, None)


def bucket(collector: Collector, view: View) -> list[Landing]:
    """The listing of the bucket, its sidecars and the digests of its media."""
    names = ("export_objects", "export_sidecars", "media_digests")
    with ExitStack() as stack:
        objects, sidecars, digests = (stack.enter_context(collector.load(name)) for name in names)
        for key, content in view.objects.items():
            parsed = parse_key(key)
            version = {
                "bucket": "exports", "object_key": key, "version_id": "v1", "object_bytes": len(content), "etag": "e",
                "last_modified": EXPORTED_AT.replace(tzinfo=None),
            }  # fmt: skip
            known = {"conversation_id": parsed.conversation_id, "recording_id": parsed.recording_id}
            keys = known | {
                "bucket_region": "us-east-1", "organization_id": parsed.organization_id, "object_role": parsed.role,
                "media_extension": parsed.extension, "path_date": parsed.path_date, "path_hour": parsed.path_hour,
                "key_finding": parsed.finding,
            }  # fmt: skip
            uri = f"s3://exports/{key}"
            objects.add_made(keys, uri, version | {"is_latest": True, "is_delete_marker": False})
            if parsed.role == "sidecar":
                named = {name: version[name] for name in ("bucket", "object_key", "version_id")}
                sidecars.add(known | named, uri, content)
            else:
                digest = hashlib.sha256(content).hexdigest()
                digests.add_made({}, uri, version | {"sha256": digest, "method": "streamed", "hashed_at": utc_now()})
    return [load.landing for load in (objects, sidecars, digests)]


def settings_of(home: Path, numbers: Sequence[int]) -> Settings:
    return Settings(
        home=home, manifest_source="recordingexports", single_reads="all", genesys_domain="https://127.0.0.1",
        genesys_client_id="c", genesys_client_secret="s", recordingexports_ids=[_id("9", number) for number in numbers],
    )  # fmt: skip


def run_night(home: Path, numbers: Sequence[int], mutants: Mutants) -> Night:
    """Collect, load, model, check, and write the files of a night with these calls."""
    view = a_view(numbers, mutants)
    settings = settings_of(home, numbers)
    night = Night(settings, load_mapping(settings.mapping_path), NIGHT)
    ready_warehouse.lay(home)
    with Collector(settings, NIGHT, client=Vendor(settings, view)) as collector, night.warehouse.open() as con:
        exports = [landing for landing in collect_exports(collector) if landing.state != "not_configured"]
        load(con, [*exports, *bucket(collector, view), *collect_details(collector)])
        wanted = conversations_to_read(con, settings, NIGHT, night.mapping.columns)
        load(con, collect_recordings(collector, list(recordings_to_read(con, settings, NIGHT))))
        load(con, collect_conversations(collector, wanted))
        model(con, night)
        assert [name for name, rows in check(con, night).items() if rows and is_blocking(name)] == []
        folder = home / "files"
        folder.mkdir(exist_ok=True)
        for name in PUBLISHED_TABLES:
            export_table(con, describe_table(con, name), NIGHT, folder, revision=1)
    return night


def anything(draw: random.Random, depth: int = 0) -> Any:
    """Any JSON value, lone surrogates and NaN included, and what JSON is not."""
    match draw.randrange(8 if depth < MAX_DEPTH else 6):
        case 0 | 1:
            return draw.choice((*JSON_VALUES, *NOT_JSON))
        case 2:
            return draw.choice((None, True, False))
        case 3:
            return draw.choice((1, -1)) * draw.getrandbits(draw.choice((1, 8, 31, 32, 53, 63, 64, 65, 200)))
        case 4:
            odd = (0.0, -0.0, float("nan"), float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308)
            return draw.choice((*odd, draw.random(), draw.uniform(-1e18, 1e18)))
        case 5:
            return any_text(draw)
        case 6:
            return [anything(draw, depth + 1) for _ in range(draw.randrange(4))]
        case _:
            return {any_text(draw): anything(draw, depth + 1) for _ in range(draw.randrange(4))}


def any_text(draw: random.Random) -> str:
    """Text of control characters, ASCII, the basic plane with its lone surrogates, or all planes."""
    last = draw.choice((0x20, 0x7F, 0xFFFF, 0x10FFFF))
    return "".join(chr(draw.randint(0, last)) for _ in range(draw.randrange(12)))


def moment(draw: random.Random) -> str:
    """A time as the platform writes it, of any year, often the last that a database can hold."""
    last = ("294247-01-10T04:00:54.775806Z", "290309-12-22 (BC) 00:00:00Z", "9999-12-31T23:59:59.999Z")
    year = draw.choice((-9999, 0, 1, 1582, 1899, 1970, 2199, 9999, 10_000, 290_000, 294_247, 300_000))
    time = (datetime.min + timedelta(microseconds=draw.randrange(86_400_000_000))).time()
    return draw.choice((*last, f"{year:04d}-{draw.choice(('01-10', '02-29', '12-31'))}T{time}Z"))


NOT_JSON = tuple(
    Raw(text)
    for text in (
        b"1e400", b"-1e400", b"9" * 400, b"0.1e-400", b"1." + b"3" * 400, b"01", b"+1", b"nul", b"'x'", b"{1:2}",
        b"{,}", b"/**/1", b"\x00", b"\xef\xbb\xbf1", b'"\xff"', b'"\xed\xa0\xbd"', b'"\xc3"', b'"\n"', b'"\t"',
        b'"\\x"', b'"\\ud83d\\ud83d"', b'"\\udc00\\ud800"', b'{"a":1,"a":{}}', b'{"":{"":{"":null}}}',
        b"[" * 200 + b"]" * 200, b"[" * 1100 + b"]" * 1100,
    )
)  # fmt: skip


def mutants(count: int, seed: int) -> dict[int, list[Mutant]]:
    """Mutants of so many calls. They depend on the seed alone."""
    draw = random.Random(seed)
    whole = a_view([0], {})
    nodes = {source: paths_of(whole.documents[source, document_id(source, 0)]) for source in SOURCES}
    found: dict[int, list[Mutant]] = {}
    for number in range(NEIGHBOURS, NEIGHBOURS + count):
        made = found[number] = []
        for source in SOURCES:
            path = draw.choice(nodes[source])
            is_time = str(path[-1:]).endswith(("Time',)", "Date',)", "Start',)", "End',)", "Created',)"))
            value = moment(draw) if is_time and draw.random() < 0.5 else anything(draw)
            made.append(Mutant(source, path, value))
    return found


OF_ALL_JOBS = "SELECT * EXCLUDE (export_job_id, export_requested_at, revision, row_sha256)"
"""Which of several export jobs exported a recording depends on all of them, mutants too."""


def rows_of_neighbours(night: Night) -> dict[str, list[Any]]:
    """What the published tables say about the calls without a mutant."""
    queries = {
        "chain_of_custody": OF_ALL_JOBS,
        "custom_data": "SELECT *",
        "gaps": "SELECT * EXCLUDE (evidence, proofs)",
    }
    ids = [_id("c", number) for number in range(NEIGHBOURS)]
    mine = "WHERE list_contains($ids, conversation_id) ORDER BY ALL"
    with night.warehouse.open(read_only=True) as con:
        return {
            table: con.execute(f"{query} FROM custody.{table} {mine}", {"ids": ids}).fetchall()
            for table, query in queries.items()
        }


def stopped(home: Path, found: Mutants) -> str:
    """The error of a night with these mutants; empty if the night ends."""
    try:
        run_night(home, [*range(NEIGHBOURS), *found], found)
    except Exception as error:  # noqa: BLE001 - whatever stops a night is what is looked for
        return f"{type(error).__name__}: {error}"
    return ""


def smallest(tmp_path: Path, found: Mutants, error: str) -> str:
    """The one call whose mutants stop a night, found by halving."""
    for turn in range(20):
        if len(found) == 1:
            break
        numbers = list(found)
        for half in (numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]):
            part = {number: found[number] for number in half}
            if told := stopped(tmp_path / f"{turn}-{half[0]}", part):
                found, error = part, told
                break
        else:
            break  # only together
    return "\n".join((error, *(str(mutant) for made in found.values() for mutant in made)))


def any_document(tmp_path: Path, found: Mutants) -> None:
    """A night with these mutants ends; nothing else changes, and each mutant has its row."""
    home = tmp_path / "home"
    before = rows_of_neighbours(run_night(home, range(NEIGHBOURS), {}))
    assert len(before["chain_of_custody"]) >= NEIGHBOURS * len(FATES)
    error = stopped(home, found)
    assert not error, smallest(tmp_path, found, error)
    night = Night(settings_of(home, ()), load_mapping(settings_of(home, ()).mapping_path), NIGHT)
    assert rows_of_neighbours(night) == before
    assert without_a_row(night, found) == []


def without_a_row(night: Night, found: Mutants) -> list[str]:
    """Mutants whose recording has no row, whose bytes are in no raw table, or that are unreadable without a word."""
    view, lost = a_view(list(found), found), []
    with night.warehouse.open(read_only=True) as con:

        def asked(query: str) -> set[Any]:
            return {row[0] for row in con.execute(query).fetchall()}

        rows = asked("SELECT recording_id FROM custody.chain_of_custody")
        named = asked("SELECT conversation_id FROM custody.gaps")
        whole = asked("SELECT source FROM custody.coverage WHERE state = 'whole'")
        states = {
            source: dict(con.execute(f"SELECT document_sha256, document_state FROM raw.{table}").fetchall())
            for source, table in SOURCES.items()
        }
    for number, mutant in ((number, mutant) for number, made in found.items() for mutant in made):
        document = dump(view.documents[mutant.source, document_id(mutant.source, number)])
        state = states[mutant.source].get(hashlib.sha256(document).hexdigest())
        if _id("b", 10 * number) not in rows:
            lost.append(f"no row: {mutant}")
        elif state is None and SOURCES[mutant.source] in whole:
            lost.append(f"in no raw table: {mutant}")
        elif state not in {None, "ok"} and _id("c", number) not in named and SOURCES[mutant.source] in whole:
            lost.append(f"{state}, and nothing says so: {mutant}")
    return lost


def test_no_value_in_any_document_stops_a_night(tmp_path: Path) -> None:
    any_document(tmp_path, mutants(80, 0))


@pytest.mark.slow
def test_no_value_of_thousands_stops_a_night(tmp_path: Path) -> None:
    for seed in range(8):
        any_document(tmp_path / str(seed), mutants(500, seed))
