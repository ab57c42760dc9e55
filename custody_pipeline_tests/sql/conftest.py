"""Given raw rows → expected rows: a night without gaps by default, which each test changes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from copy import deepcopy
from datetime import date, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pytest

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.models.mapping import TagMapping
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.mapping_tables import write_mapping
from custody_pipeline.models.run import model_params, prepare, replace_window, run_check, run_models
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES, night_content_sha256
from custody_pipeline.warehouse.ledger import Actor, append_joins
from custody_pipeline.warehouse.sql_files import SqlModel, load_models
from custody_pipeline_tests.made_once import made_once

NIGHT = date(2026, 11, 2)
SCRIPT = "5c1e0000-0000-4000-8000-000000000001"
Row = dict[str, Any]
Name = TypeVar("Name")
Parts = Iterator[None]
Tags = dict[str, str | None]

# Resources that a night with the API collects, whether rows come or not.
API = (
    "export_jobs", "export_failures", "conversation_details", "conversations", "conversation_attributes",
    "recording_metadata", "orphan_recordings", "listed_recordings", "published_scripts", "queues", "recording_audits",
    "users", "gdpr_requests",
)  # fmt: skip
BUCKET = ("export_objects", "export_sidecars", "media_digests", "export_manifests", "captures", "conversation_events")
HEALTHY_AGENT: Tags = {"Legal-Hold": "false", "Disposition": "Resolved"}
CUSTOMER_END = "v2.detail.events.conversation.{id}.customer.end"
HEALTHY_IVR: Tags = {"Consent.Recorded": "true", "Customer Language": "en-US"}


# Days in given rows are relative to NIGHT, and names of conversations and recordings are those of one night.
_AUTUMN = re.compile(r"2026-1[0-2]-\d\d")
_NAME = re.compile(r"\b[cCrR]\d+\b")


class Night:
    """One night's raw rows, loaded and modelled by `run`; `rows` may be changed between runs, each is a new load."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        models: dict[str, SqlModel],
        mapping: TagMapping,
        scratch: Path,
        day: date = NIGHT,
        of_night: str = "",
    ):
        self._con, self.models, self.mapping, self.scratch, self.day = con, models, mapping, scratch, day
        self._stale: set[str] = set()
        self._of_night = of_night
        self._receipts: dict[str | None, Row] = {}
        self._failure: BaseException | None = None
        self._loads_next = True
        self.settings: Settings | None = None
        self.rows: dict[str, list[Row]] = {resource: [] for resource in (*API, *BUCKET)}
        self.failures: list[Row] = []
        self.api = True
        self.watermark = self.listed_until = "2026-11-04 00:00:00"
        self.loads = 0
        self.rows["published_scripts"] = [
            {"script_id": SCRIPT, "script_name": "Intake", "version_id": "1", "published_date": "2026-01-01 00:00:00"},
            {"script_id": SCRIPT, "script_name": "Intake", "version_id": "2", "published_date": "2026-06-01 00:00:00"},
        ]
        self.rows["queues"] = [
            {"queue_id": "q-intake", "queue_name": "Intake"},
            {"queue_id": "q-litigation", "queue_name": "Litigation"},
        ]

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The warehouse, with every model up to date."""
        self._bring(self.models)
        return self._con

    def go_on(self, test: Parts) -> bool:
        """Run the next part of a test. Returns whether another one follows, for which the night is now loaded."""
        try:
            next(test)
            if self._loads_next:
                self.load()
            self._loads_next = True
        except StopIteration:
            return False
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - raised when it is the test's turn
            self._failure = error
            return False
        return True

    def load_nothing(self) -> None:
        """The next `yield` models what is loaded already."""
        self._loads_next = False

    def tell(self) -> None:
        """Raise what the test raised."""
        if self._failure is not None:
            raise self._failure

    # Given

    def call(
        self,
        conversation: str = "c1",
        recording: str = "r1",
        agent: Tags | None = None,
        ivr: Tags | None = None,
        customer: Tags | None = None,
        queue: str = "q-intake",
    ) -> None:
        """A conversation of ten minutes at 10:00 with one recorded agent leg, exported with its sidecar."""
        legs = [
            participant(conversation, "customer", customer, session={"ani": "+15551234567", "dnis": "+15550100"}),
            participant(conversation, "ivr", HEALTHY_IVR if ivr is None else ivr, flow=True),
            participant(
                conversation,
                "agent",
                HEALTHY_AGENT if agent is None else agent,
                queue=queue,
                script=SCRIPT,
                recorded=True,
            ),
        ]
        self.rows["conversation_details"].append(
            {
                "conversation_id": conversation,
                "conversation_start": "2026-11-02 10:00:00",
                "conversation_end": "2026-11-02 10:10:00",
                "originating_direction": "inbound",
                "participants": legs,
            }
        )
        self.export(conversation, recording)

    def transfer(self, first: Tags, second: Tags) -> None:
        """Conversation c1 with two agents; r1 is the first one's leg and r2 the second's, by their sidecars."""
        self.call(agent=first)
        leg = participant("c1", "agent", second, number=2, queue="q-intake", script=SCRIPT, recorded=True)
        leg["sessions"][0]["segments"][0]["segment_start"] = "2026-11-02 10:05:00"
        self.details()["participants"].append(leg)
        self.export("c1", "r2", user="c1-user-2")

    def export(
        self, conversation: str, recording: str, user: str | None = None, folder: str = "month=11/day=2"
    ) -> None:
        """Media, sidecar and digest in the bucket."""
        path = f"org/year=2026/{folder}/hour=10/conversation_id={conversation}/"
        common = {
            "bucket": "exports", "version_id": "v1", "is_latest": True, "is_delete_marker": False, "etag": "e1",
            "last_modified": "2026-11-03 01:00:00", "bucket_region": "us-east-1", "organization_id": "org",
            "conversation_id": conversation, "recording_id": recording, "path_date": "2026-11-02", "path_hour": 10,
        }  # fmt: skip
        media, sidecar = f"{path}{recording}.opus", f"{path}{recording}.opus_metadata.json"
        self.rows["export_objects"] += [
            {**common, "object_key": media, "object_role": "media", "media_extension": "opus", "object_bytes": 1000},
            {**common, "object_key": sidecar, "object_role": "sidecar", "object_bytes": 300},
        ]
        self.rows["export_sidecars"].append(
            {
                "bucket": "exports", "object_key": sidecar, "version_id": "v1",
                "key_conversation_id": conversation, "key_recording_id": recording,
                "conversation_id": conversation, "recording_id": recording,
                "media_type": "Call", "media_subtype": "Trunk", "user_ids": [user or f"{conversation}-user-1"],
                "start_time": "2026-11-02T10:00:10.000+0000", "end_time": "2026-11-02T10:09:50.000+0000",
                "duration_ms": 580000, "initial_direction": "inbound", "has_tags_field": False,
            }
        )  # fmt: skip
        self.digest(media, "a" * 64)

    def digest(self, key: str, sha256: str, version: str = "v1") -> None:
        """A digest of a version of an object."""
        self.rows["media_digests"].append(
            {
                "bucket": "exports", "object_key": key, "version_id": version, "sha256": sha256, "md5": "b" * 32,
                "etag": "e1", "object_bytes": 1000, "method": "streamed", "hashed_at": "2026-11-03 02:00:00",
                "last_modified": "2026-11-03 01:00:00",
            }
        )  # fmt: skip

    def metadata(self, conversation: str = "c1", *recordings: Row) -> None:
        """The recording interface was asked for a conversation and lists these recordings (defaults filled in)."""
        base = {
            "key_conversation_id": conversation, "conversation_id": conversation, "media": "audio",
            "media_subtype": "Trunk", "file_state": "AVAILABLE", "region": "us-east-1",
            "start_time": "2026-11-02T10:00:10.000Z", "end_time": "2026-11-02T10:09:50.000Z",
            "export_date": "2026-11-03 00:30:00", "exported_date": "2026-11-03 00:45:00",
        }  # fmt: skip
        rows = [{**base, **recording} for recording in recordings]
        self.rows["recording_metadata"] += rows or [{"key_conversation_id": conversation}]

    def listed(self, recording: str, conversation: str = "c1", **fields: Any) -> None:
        """The list of all recordings has a recording."""
        made = {"recording_id": recording, "conversation_id": conversation, "creation_time": "2026-11-02 10:00:10"}
        self.rows["listed_recordings"].append({**made, **fields})

    def job(self, **fields: Any) -> None:
        """A fulfilled export job over the whole day."""
        self.rows["export_jobs"].append(
            {
                "job_id": "j1", "job_state": "FULFILLED", "action": "EXPORT", "include_sensitive": False,
                "include_screen": True, "interval_start": "2026-11-02 00:00:00", "interval_end": "2026-11-03 00:00:00",
                "requested_at": "2026-11-03 00:20:00", "total_recordings": None, "total_skipped": 0, **fields,
            }
        )  # fmt: skip

    def single(self, conversation: str = "c1", **tags: Tags) -> Row:
        """The conversation was read by itself, with these attributes by purpose (those of the bulk job otherwise)."""
        bulk = next((row for row in self.rows["conversation_details"] if row["conversation_id"] == conversation), None)
        legs = deepcopy(bulk["participants"]) if bulk else [participant(conversation, name, {}) for name in tags]
        keep = ("participant_id", "purpose", "user_id", "attributes")
        participants = [{name: leg[name] for name in keep} for leg in legs]
        for leg in participants:
            leg["attributes"] = tags.get(leg["purpose"], leg["attributes"])
        row = {
            "key_conversation_id": conversation, "conversation_id": conversation,
            "start_time": "2026-11-02 10:00:00", "end_time": "2026-11-02 10:10:00", "participants": participants,
        }  # fmt: skip
        self.rows["conversations"].append(row)
        return row

    def capture(self, at: str, conversation: str = "c1", **tags: Tags) -> None:
        """Live capture saw the conversation at a time of the night's day, with these attributes by purpose."""
        legs = [
            {"participant_id": f"{conversation}-{purpose}-1", "purpose": purpose, "attributes": attributes}
            for purpose, attributes in tags.items()
        ]
        self.rows["captures"].append(
            {"conversation_id": conversation, "observed_at": f"2026-11-02 {at}", "participants": legs}
        )

    def event(self, at: str, conversation: str = "c1", topic: str = CUSTOMER_END, **fields: Any) -> None:
        """Live capture received an event at a time of the night's day."""
        moment = f"2026-11-02 {at}"
        self.rows["conversation_events"].append(
            {
                "event_id": f"{conversation}-{at}", "topic": topic, "conversation_id": conversation,
                "event_time": moment, "received_at": moment, "outcome": "captured", **fields,
            }
        )  # fmt: skip

    def audit(self, action: str, recording: str = "r1", conversation: str = "c1", **fields: Any) -> None:
        """An entry of the vendor's audits."""
        self.rows["recording_audits"].append(
            {
                "audit_id": f"{conversation}-{action}-{recording}", "conversation_id": conversation,
                "entity_id": recording, "entity_type": "Recording", "service_name": "RecordingPlaybackService",
                "action_written": action, "audit_level": "User", "audit_status": "Success", "user_id": "reviewer",
                "client_id": "browser", "remote_ips": ["192.0.2.10"], "event_date": "2026-11-02 12:00:00", **fields,
            }
        )  # fmt: skip

    def erase_at_vendor(self, conversation: str = "c1", **fields: Any) -> None:
        """A request for deletion at the vendor names a number of a conversation that is gone there."""
        self.rows["gdpr_requests"].append(
            {
                "conversation_id": conversation, "request_id": "g1", "request_type": "GDPR_DELETE",
                "request_status": "COMPLETED", "created_date": "2026-11-02 09:00:00",
                "matched_by": ["phoneNumbers"], **fields,
            }
        )  # fmt: skip

    def refuse(self, status: int | None, subject: str = "c1", resource: str = "conversations") -> None:
        """A single read failed for good."""
        self.failures.append(
            {"resource": resource, "subject_id": subject, "http_status": status, "correlation_id": "x"}
        )

    def receipt(self, resource: str | None = None, **fields: Any) -> None:
        """The receipts of the next loads say this; those of every resource, or of one."""
        self._receipts.setdefault(resource, {}).update(fields)

    def object(self, role: str = "media", recording: str = "r1") -> Row:
        """The listed object of a recording."""
        rows = self.rows["export_objects"]
        return next(row for row in rows if row["object_role"] == role and row["recording_id"] == recording)

    def sidecar(self) -> Row:
        """The first sidecar."""
        return self.rows["export_sidecars"][0]

    def details(self) -> Row:
        """The first conversation of the bulk job."""
        return self.rows["conversation_details"][0]

    def leg(self, purpose: str = "agent") -> Row:
        """The first participant of that purpose in the bulk job."""
        return next(leg for leg in self.details()["participants"] if leg["purpose"] == purpose)

    def drop(self, resource: str, **fields: Any) -> None:
        """Remove the rows of a resource that have these values."""
        self.rows[resource] = [
            row for row in self.rows[resource] if any(row.get(name) != value for name, value in fields.items())
        ]

    # When

    def load(self) -> None:
        """Append every resource as a new load, with its receipt."""
        self.loads += 1
        at = f"2026-11-{4 + self.loads:02d} 02:30:00"
        receipts: list[Row] = []
        for resource, rows in self.rows.items():
            landing = f"{self.loads:03d}-{resource}"
            configured = self.api or resource in BUCKET
            refused = [row for row in self.failures if row["resource"] == resource]
            if configured:
                self.insert(resource, [self._received(resource, row, landing, at) for row in rows])
                self.insert("fetch_failures", [{**row, "landing_id": landing, "occurred_at": at} for row in refused])
            until = {"conversation_details": self.watermark, "listed_recordings": self.listed_until}
            receipts.append(
                {
                    "landing_id": landing, "resource": resource, "started_at": at, "finished_at": at,
                    "receipt_state": "complete" if configured else "not_configured", "collector": "client-1",
                    "data_available_until": until.get(resource),
                    "organization_id": "org", "operator": "someone", "tool_version": "0.1.0",
                    **self._receipts.get(None, {}), **self._receipts.get(resource, {}),
                }
            )  # fmt: skip
        self.insert("extraction_receipts", receipts)

    def _received(self, resource: str, row: Row, landing: str, at: str) -> Row:
        text = json.dumps(row, sort_keys=True)
        subject = row.get("object_key") or row.get("key_conversation_id") or row.get("conversation_id")
        return {
            "landing_id": landing,
            "fetched_at": at,
            "source_uri": f"https://api.example.com/{resource}/{subject}",
            "document_state": "ok",
            "document_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "document_uri": f"/landing/{landing}.ndjson.gz#L1",
            **row,
        }

    def insert(self, table: str, rows: list[Row]) -> None:
        """Insert rows by column name into a raw table; columns that are not named stay null."""
        if not rows:
            return
        types = {name: kind for name, kind, *_ in self._con.execute(f"DESCRIBE raw.{table}").fetchall()}
        unknown = {name for row in rows for name in row} - types.keys()
        assert not unknown, f"raw.{table} has no {unknown}"
        file = self.scratch / "rows.ndjson"
        text = "".join(json.dumps({"partition_date": str(NIGHT), **row}) + "\n" for row in rows)
        file.write_text(self.named(_AUTUMN.sub(self._shifted, text)))
        self._con.execute(
            f"INSERT INTO raw.{table} BY NAME SELECT * FROM read_json(?, format = 'newline_delimited', columns = "
            + "{" + ", ".join(f'"{name}": \'{kind}\'' for name, kind in types.items()) + "})",
            [str(file)],
        )  # fmt: skip

    def _shifted(self, match: re.Match[str]) -> str:
        return str(self.day + (date.fromisoformat(match[0]) - NIGHT))

    def named(self, text: str) -> str:
        """The text with the names as the warehouse has them, `c1~7` in a shared one; rows are read without."""
        return _NAME.sub(rf"\g<0>{self._of_night}", text)

    def _read(self, value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(self._of_night, "")
        if isinstance(value, list):
            return [self._read(item) for item in value]
        return {name: self._read(item) for name, item in value.items()} if isinstance(value, dict) else value

    def run(self) -> None:
        """Load, and bring every model up to date."""
        self.load()
        self.model()

    def model(self, only: Set[str] | None = None, *, now: bool = False) -> None:
        """Bring every model up to date, or only those whose sources a test has changed.

        Unless `now`, it is done when their tables are read: a test seldom reads all of them.
        """
        self._stale |= {
            key
            for key, model in self.models.items()
            if model.schema in {"staging", "custody"} and (only is None or key in only)
        }
        if now:
            self._bring(self._stale)

    def execute(self, sql: str, values: list[Any] | dict[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
        """Execute a statement; the tables that it names are up to date."""
        self._bring(re.findall(r"\b(?:staging|custody)\.\w+", sql))
        return self._con.execute(sql, values or [])

    def _bring(self, tables: Iterable[str]) -> None:
        """Bring tables up to date, and the tables that they are made from."""
        needed, found = set(tables), set[str]()
        while needed:
            found |= needed
            needed = {table for key in needed & self.models.keys() for table in self.models[key].depends_on} - found
        if found := found & self._stale:
            self._stale -= found
            models = {key: model for key, model in self.models.items() if key in found}
            run_models(self._con, models, self.day, self.mapping, self.settings)

    # Then

    def reasons(self, recording: str | None = None) -> set[str]:
        """Codes of the night's gaps, of one recording or all."""
        self._bring(["custody.gaps"])
        rows = self._con.execute(
            "SELECT recording_id, reason FROM custody.gaps WHERE partition_date = ?", [self.day]
        ).fetchall()
        return {reason for found, reason in rows if recording in (None, self._read(found))}

    def gap(self, reason: str) -> Row:
        """The one gap of this reason, its evidence parsed."""
        found = self.query("SELECT * FROM custody.gaps WHERE partition_date = ? AND reason = ?", [self.day, reason])
        assert len(found) == 1, f"{len(found)} rows of {reason}; found {self.reasons()}"
        return {**found[0], "evidence": json.loads(found[0]["evidence"])}

    def row(self, recording: str = "r1") -> Row:
        """The chain_of_custody row of a recording."""
        found = [row for row in self.table("chain_of_custody") if row["recording_id"] == recording]
        assert len(found) == 1
        return found[0]

    def table(self, name: str) -> list[Row]:
        """The night's rows of a custody table, in order."""
        order = ", ".join(self.models[f"custody.{name}"].grain)
        return self.query(f"SELECT * FROM custody.{name} WHERE partition_date = ? ORDER BY {order}", [self.day])

    def source(self, name: str) -> Row:
        """The coverage row of a source."""
        return next(row for row in self.table("coverage") if row["source"] == name)

    def balance(self, source: str) -> tuple[int, int, int, int]:
        """What a source expected, and what of it is present, explained and unexplained."""
        row = next(row for row in self.table("reconciliation") if row["source"] == source)
        return row["expected"], row["present"], row["explained"], row["unexplained"]

    def query(self, sql: str, values: list[Any] | None = None) -> list[Row]:
        """Rows as dicts."""
        answer = self.execute(sql, values)
        names = [column[0] for column in answer.description]
        return [self._read(dict(zip(names, row, strict=True))) for row in answer.fetchall()]

    def check(self, name: str) -> list[Row]:
        """Offending rows of a check."""
        self._bring([f"checks.{name}"])
        return [self._read(row) for row in run_check(self._con, self.models[f"checks.{name}"], self.day, self.mapping)]

    def sha256(self) -> str:
        """The content hash of the night."""
        self._bring(f"custody.{table}" for table in PUBLISHED_TABLES)
        return night_content_sha256(self._con, self.day)


def participant(
    conversation: str,
    purpose: str,
    attributes: Tags | None,
    number: int = 1,
    queue: str | None = None,
    script: str | None = None,
    recorded: bool = False,
    flow: bool = False,
    session: Row | None = None,
) -> Row:
    """A participant of a bulk document, with one session."""
    name = f"{conversation}-{purpose}-{number}"
    return {
        "participant_id": name,
        "purpose": purpose,
        "user_id": f"{conversation}-user-{number}" if purpose == "agent" else None,
        "attributes": {} if attributes is None else dict(attributes),
        "sessions": [
            {
                "session_id": f"{name}-session",
                "media_type": "voice",
                "script_id": script,
                "recording": recorded,
                "segments": [
                    {
                        "segment_start": "2026-11-02 10:00:00",
                        "segment_end": "2026-11-02 10:10:00",
                        "segment_type": "interact",
                        "queue_id": queue,
                    }
                ],
                "flow": {"flow_id": "f1", "flow_name": "Main", "flow_version": "12.0"} if flow else None,
                **(session or {}),
            }
        ],
    }


@pytest.fixture(scope="session")
def models() -> dict[str, SqlModel]:
    return load_models()


@pytest.fixture(scope="session")
def shipped_mapping() -> TagMapping:
    return load_mapping(PACKAGE_DIR / "genesyscloud_export.yaml")


@pytest.fixture(scope="session")
def empty_warehouse(
    tmp_path_factory: pytest.TempPathFactory, models: dict[str, SqlModel], shipped_mapping: TagMapping
) -> Path:
    """A warehouse with every table and view, to copy from: creating them takes longer than a test."""

    def make(path: Path) -> None:
        with duckdb.connect(str(path)) as con:
            prepare(con)
            run_models(con, models, NIGHT, shipped_mapping)

    return made_once(tmp_path_factory, "modelled.duckdb", make)


@contextmanager
def one_window(
    models: dict[str, SqlModel],
    mapping: TagMapping,
    empty_warehouse: Path,
    folder: Path,
    given: Mapping[Name, Callable[[Night], Any]],
) -> Iterator[dict[Name, Night]]:
    """A night for each of these, weeks apart; one window models them all, in the time of two or three nights."""
    with _apart(models, mapping, empty_warehouse, folder, given) as nights:
        for name, arrange in given.items():
            arrange(nights[name])
            nights[name].load()
        _model_window(models, mapping, list(nights.values()))
        yield nights


@contextmanager
def _apart(
    models: dict[str, SqlModel], mapping: TagMapping, empty_warehouse: Path, folder: Path, names: Iterable[Name]
) -> Iterator[dict[Name, Night]]:
    """A night of each name, weeks apart in one warehouse."""
    path = folder / "warehouse.duckdb"
    shutil.copyfile(empty_warehouse, path)
    with duckdb.connect(str(path), config={"threads": 2}) as con:
        con.execute("SET GLOBAL TimeZone = 'UTC'")
        nights = {
            name: Night(con, models, mapping, folder, NIGHT + timedelta(days=7 * number), f"~{number}")
            for number, name in enumerate(names)
        }
        for night in nights.values():
            write_mapping(con, mapping, night.day)
        yield nights


def _model_window(models: dict[str, SqlModel], mapping: TagMapping, nights: list[Night]) -> None:
    con = nights[0].con
    days = sorted(night.day for night in nights)
    for model in models.values():
        if model.materialized == "window":
            replace_window(con, model, days[0], days[-1] + timedelta(days=1), model_params(model, mapping))
        if model.key == "custody.chain_of_custody":
            for day in days:
                append_joins(con, Actor.of(None), day, "SQL")


def together(test: Callable[..., Parts]) -> Callable[..., None]:
    """A test that has a `yield` wherever its night shall be loaded and modelled.

    One window models the nights of all such tests of a module. Such a night is not the first of its warehouse, and its
    day is `night.day`. SQL of the test names that day. A test that looks at other nights has a `night` of its own.
    """

    @wraps(test)
    def told(**arguments: Any) -> None:
        arguments["night"].tell()

    told.parts = test  # type: ignore[attr-defined]
    return told


@pytest.fixture(scope="module")
def nights_together(
    request: pytest.FixtureRequest,
    models: dict[str, SqlModel],
    shipped_mapping: TagMapping,
    empty_warehouse: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Night]]:
    """The nights of the module's tests that are made `together`, by the tests' names; every part of them has run."""
    tests = {
        test.name: test
        for test in request.session.items
        if isinstance(test, pytest.Function) and test.module is request.module and hasattr(test.function, "parts")
    }
    with _apart(models, shipped_mapping, empty_warehouse, tmp_path_factory.mktemp("together"), tests) as nights:
        parts = {
            name: test.function.parts(night=nights[name], **(test.callspec.params if hasattr(test, "callspec") else {}))
            for name, test in tests.items()
        }
        while parts := {name: rest for name, rest in parts.items() if nights[name].go_on(rest)}:
            _model_window(models, shipped_mapping, [nights[name] for name in parts])
        yield nights


@pytest.fixture
def night(
    request: pytest.FixtureRequest,
    models: dict[str, SqlModel],
    shipped_mapping: TagMapping,
    empty_warehouse: Path,
    tmp_path: Path,
) -> Iterator[Night]:
    if hasattr(request.function, "parts"):
        yield request.getfixturevalue("nights_together")[request.node.name]
        return
    path = tmp_path / "warehouse.duckdb"
    shutil.copyfile(empty_warehouse, path)
    with duckdb.connect(str(path), config={"threads": 1}) as con:
        con.execute("SET GLOBAL TimeZone = 'UTC'")
        yield Night(con, models, shipped_mapping, tmp_path)
