"""Times of their own for captures, snapshot, spool and packages: what is due, what holds it, and what is then gone."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import boto3
import duckdb
import msgspec
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from custody_pipeline.capture.captured import captures_of
from custody_pipeline.capture.messages import Message
from custody_pipeline.capture.night_captures import collect_captures
from custody_pipeline.capture.spool import Spool
from custody_pipeline.extract.collector import Collector
from custody_pipeline.forgetting.choices import due
from custody_pipeline.forgetting.coming import removals_near
from custody_pipeline.forgetting.due import apply, plan
from custody_pipeline.forgetting.erase import look
from custody_pipeline.forgetting.finder import Asked, NothingToEraseError
from custody_pipeline.forgetting.keeping import by_day_and_place, plan_places, remove_places
from custody_pipeline.forgetting.places import captured_by_night, captured_keys
from custody_pipeline.forgetting.policy import load_policy
from custody_pipeline.io.document_store import FolderStore
from custody_pipeline.io.s3 import s3_client
from custody_pipeline.io.whole_file import DamagedFileError
from custody_pipeline.io.yaml_file import RefusedFileError
from custody_pipeline.matters.holds import HELD, Holds
from custody_pipeline.matters.id_list import IdList
from custody_pipeline.matters.matter import Selection
from custody_pipeline.matters.register import new_matter, register_of
from custody_pipeline.operations.package_register import Package, Packed, keep_package, packages_of
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.demo import ensure_bucket
from custody_pipeline.simulator.local_s3 import S3Endpoint
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.erasures import Request, keep_request, requests_of
from custody_pipeline.warehouse.snapshot import snapshot_for_analysts
from custody_pipeline_tests import ready_warehouse
from custody_pipeline_tests.publish.nights import insert

OLD, NEW = date(2026, 11, 2), date(2026, 12, 2)
POLICY = """
version: 1
authority: records schedule 2026-03
rules:
  - name: claims
    keep: 7 years
    captures: 60 days
    select: {queues: [Claims]}
  - name: everything
    captures: 10 days
    snapshot: 20 days
    spool: 5 days
    packages: 1 month
"""


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a warehouse of two nights with a call each, and its snapshot."""
    settings = Settings(home=tmp_path_factory.mktemp("two-nights"))
    ready_warehouse.lay(settings.home)
    with Warehouse(settings).open() as con:
        for night, name, queue in ((OLD, "old", "Sales"), (NEW, "new", "Claims")):
            insert(
                con,
                "custody.chain_of_custody",
                partition_date=night,
                conversation_id=name,
                recording_id=f"{name}-1",
                queue_names=[queue],
                custom_data_state="present",
                gap_reasons=[],
            )
            insert(con, "custody.nights", partition_date=night)
        snapshot_for_analysts(con, settings)
    return settings.home


@pytest.fixture
def home(two_nights: Path, tmp_path: Path) -> Settings:
    """The two nights, captures of both, a dead letter, a waiting event and a package."""
    path = tmp_path / "retention.yaml"
    path.write_text(POLICY)
    settings = Settings.model_validate({"home": tmp_path / "home", "retention_path": path})
    shutil.copytree(two_nights, settings.home)
    store = FolderStore(settings.home / "captures")
    for night, name in ((OLD, "old"), (NEW, "new")):
        for kind in ("captures", "events"):
            store.create(f"{kind}/date={night}/conversation_id={name}/1.json", b"{}")
    spool = Spool(settings.spool_path)
    received = datetime(2026, 11, 2, tzinfo=UTC)
    spool.put([Message(event, event, b"body of " + event.encode(), received) for event in ("dead", "waits")])
    spool.set_aside([item for item in spool.receive(9, 60) if item.body == b"body of dead"], "nobody knows it")
    spool.close()
    folder = tmp_path / "case-4"
    folder.mkdir()
    (folder / "tagmanifest-sha256.txt").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    made = Package("a" * 32, "2026-11-05T00:00:00Z", "me", "Roe", "request 4", str(folder))
    keep_package(settings, msgspec.structs.replace(made, recordings=(Packed(str(OLD), "old", "old-1"),), sha256=empty))
    return settings


def say(_: str) -> None:
    """Nobody listens."""


def planned(settings: Settings, today: date) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    found = plan_places(settings, load_policy(settings.retention_path), today)  # type: ignore[arg-type]
    return [(item.place, item.what) for item in found.due], [(item.place, item.what) for item, _ in found.held]


def in_snapshot(settings: Settings, table: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(settings.analyst_path), read_only=True) as con:
        return con.execute(f"SELECT partition_date FROM custody.{table} ORDER BY ALL").fetchall()


def test_a_damaged_list_of_nights_without_rows_is_named(home: Settings) -> None:
    path = home.home / "retention/snapshot.json"
    path.parent.mkdir()
    path.write_text('["2026-11-')
    with Warehouse(home).open() as con, pytest.raises(DamagedFileError, match=r"retention/snapshot\.json"):
        snapshot_for_analysts(con, home)
    assert in_snapshot(home, "chain_of_custody") == [(OLD,), (NEW,)]


def test_each_place_has_its_time_and_the_longest_rule_counts(home: Settings) -> None:
    found = plan_places(home, load_policy(home.retention_path), OLD)  # type: ignore[arg-type]
    assert [(str(item.day), item.place, item.what, item.rule) for item in found.coming] == [
        ("2026-11-08", "spool", "dead", "everything"),
        ("2026-11-13", "captures", "2026-11-02", "everything"),
        ("2026-11-23", "snapshot", "2026-11-02", "everything"),
        ("2026-12-06", "packages", "a" * 32, "everything"),
        ("2026-12-23", "snapshot", "2026-12-02", "everything"),
        ("2027-02-01", "captures", "2026-12-02", "claims"),
    ]
    assert (found.due, found.held) == ((), ())
    assert by_day_and_place(found.coming)[1] == (date(2026, 11, 13), "captures of 1 night", "everything")


def test_captures_that_are_removed_soon_are_told_in_the_alert_of_their_night(home: Settings) -> None:
    alerts = removals_near(home, date(2026, 10, 20)) or []
    assert [(alert.night, alert.sentence, alert.recoverable_until) for alert in alerts] == [
        (
            OLD,
            "The captures of this night reach the end of retention (everything) on 2026-11-13.",
            datetime(2026, 11, 13),
        )
    ]


def test_a_hold_of_a_matter_keeps_captures_and_packages(home: Settings) -> None:
    new_matter(home, "smith", "Smith", "1", {"ids": ["old"]})
    register = register_of(home, "smith")
    register.folder.mkdir(parents=True, exist_ok=True)
    (register.folder / "holds.json").write_bytes(msgspec.json.encode(Holds({"old": HELD})))
    assert planned(home, date(2026, 12, 10)) == (
        [("spool", "dead"), ("snapshot", "2026-11-02")],
        [("captures", "2026-11-02"), ("packages", "a" * 32)],
    )


def test_captures_are_found_alike_in_a_folder_and_in_a_bucket(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    folder, in_bucket = home.home / "captures", home.model_copy(update={"capture_url": "s3://captured/prod"})
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="captured")
        for path in folder.rglob("*.json"):
            client.put_object(Bucket="captured", Key=f"prod/{path.relative_to(folder).as_posix()}", Body=b"{}")
        for settings in (home, in_bucket):
            assert captured_by_night(settings, client) == {OLD: {"old"}, NEW: {"new"}}
            assert list(captured_keys(settings, client, {str(OLD)})) == [
                f"{kind}/date={OLD}/conversation_id=old/1.json" for kind in ("captures", "events")
            ]


def test_captures_that_lie_under_the_day_after_are_kept_with_their_conversation(home: Settings) -> None:
    """Nothing told when the call of its event began."""
    (home.home / f"captures/events/date={NEW}/conversation_id=OLD").mkdir()
    (home.home / f"captures/events/date={NEW}/conversation_id=OLD/2.json").touch()
    new_matter(home, "smith", "Smith", "1", {"ids": ["old"]})
    register = register_of(home, "smith")
    register.folder.mkdir(parents=True, exist_ok=True)
    (register.folder / "holds.json").write_bytes(msgspec.json.encode(Holds({"old": HELD})))
    due, held = planned(home, date(2027, 2, 1))
    assert ("captures", str(NEW)) in held
    assert ("captures", str(NEW)) not in due


def test_a_conversation_that_only_live_capture_has_is_not_said_to_have_no_data(home: Settings) -> None:
    FolderStore(home.home / "captures").create(f"captures/date={OLD}/conversation_id=today/1.json", b"{}")
    for name, says in (("today", f"live capture has documents of this selection, under {OLD}"), ("x", "no data")):
        with pytest.raises(NothingToEraseError, match=says):
            look(home, Asked(Selection(ids=IdList.of([name])), "", ""))


def test_what_is_due_is_removed_and_the_rest_stays(home: Settings) -> None:
    policy = load_policy(home.retention_path)  # type: ignore[arg-type]
    before = due(home, policy)
    found = plan_places(home, policy, date(2026, 12, 10))
    assert remove_places(home, found, say) == {"captures": 1, "snapshot": 1, "spool": 1, "packages": 1}
    assert plan_places(home, policy, date(2026, 12, 10)).due == ()
    store = FolderStore(home.home / "captures")
    assert [len(list(captures_of(store, night))) for night in (OLD, NEW)] == [0, 1]
    assert [package.state() for package in packages_of(home)] == ["removed"]
    assert b"body of dead" not in home.spool_path.read_bytes()
    assert b"body of waits" in home.spool_path.read_bytes()
    # Analysts see the night among the nights, and its recordings in the published files alone.
    assert in_snapshot(home, "chain_of_custody") == [(NEW,)]
    assert in_snapshot(home, "nights") == [(OLD,), (NEW,)]
    with Warehouse(home).open() as con:
        snapshot_for_analysts(con, home, NEW)
    assert in_snapshot(home, "chain_of_custody") == [(NEW,)]
    # It is erased in its time all the same.
    assert due(home, policy) == before


def test_a_conversation_that_a_lock_kept_is_erased_only_if_the_policy_of_today_says_so(home: Settings) -> None:
    """The lock of a request of the policy has ended, and meanwhile the policy keeps the conversation longer."""
    moment = "2026-11-20T09:00:00Z"
    left = Request("1" * 32, moment, "me", "end", "schedule", ("policy",), ("old",), (), (str(OLD),), state="waiting")
    keep_request(home, left)
    assert apply(home, load_policy(home.retention_path), OLD, say).outcomes == []  # type: ignore[arg-type]
    assert requests_of(home) == []
    assert in_snapshot(home, "chain_of_custody") == [(OLD,), (NEW,)]


def test_the_policy_erases_no_conversation_with_a_recording_that_has_the_id_of_another_conversation(
    home: Settings,
) -> None:
    with Warehouse(home).open() as con:
        row = {"partition_date": NEW, "conversation_id": "later", "recording_id": "old"}
        insert(con, "custody.chain_of_custody", **row, gap_reasons=[])
        snapshot_for_analysts(con, home)
    path = home.retention_path
    assert path is not None
    path.write_text(
        "version: 1\nauthority: schedule\nrules:\n"
        "  - {name: all, keep: 1 month}\n  - {name: wrong, keep: 9 years, select: {queues: [Sale]}}\n"
    )
    assert plan(home, load_policy(path), date(2026, 12, 3)).selected == (3, 0)
    (outcome,) = apply(home, load_policy(path), date(2026, 12, 3), say).outcomes
    assert outcome.request.conversations == ("old",)


def test_a_clock_that_is_years_ahead_removes_nothing(
    home: Settings, server: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    settings = home.model_copy(update={"publish_url": "s3://clocks/prod", "s3_endpoint_url": server.url})
    ensure_bucket(server.client(), "clocks", lock=False)
    policy, day = load_policy(home.retention_path), date(2029, 11, 2)  # type: ignore[arg-type]
    ahead = datetime(2029, 11, 2, tzinfo=UTC).replace(tzinfo=None)
    with monkeypatch.context() as patched:
        patched.setattr("botocore.auth.get_current_datetime", lambda *_, **__: ahead)
        with pytest.raises(ClientError, match="RequestTimeTooSkewed"):
            apply(settings, policy, day, say)
    assert set(captured_by_night(home, s3_client(settings))) == {OLD, NEW}
    assert apply(settings, policy, day, say).places["captures"] == 2


def test_a_request_of_the_policy_that_a_lock_holds_does_not_wait(home: Settings) -> None:
    path = home.retention_path
    assert path is not None
    path.write_text("version: 1\nauthority: schedule\nrules:\n  - {name: all, keep: 1 month}\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("custody_pipeline.forgetting.finder._locks", lambda *_: ["a legal hold on x"])
        applied = apply(home, load_policy(path), date(2026, 12, 3), say)
    assert applied.held == ["2026-11-02: not erased, since it is held by a legal hold on x"]
    assert requests_of(home) == []


def test_a_night_whose_captures_are_gone_keeps_what_it_collected_before(home: Settings) -> None:
    policy = load_policy(home.retention_path)  # type: ignore[arg-type]
    remove_places(home, plan_places(home, policy, date(2026, 12, 10)), say)
    # An event of that time still waits in the spool.
    for night, states in ((OLD, ["not_configured"] * 2), (NEW, ["complete", "partial"])):
        with Collector(home, night) as collector:
            landings = collect_captures(collector)
        assert [landing.state for landing in landings] == states
        assert ("retention policy" in (landings[0].detail or "")) is (night == OLD)


def test_a_rule_may_ask_for_divisions_and_keeps_what_no_document_tells(home: Settings) -> None:
    with Warehouse(home).open() as con:
        for number, (name, division) in enumerate({"old": "Claims EU", "new": "Sales"}.items()):
            insert(
                con,
                "custody.divisions",
                partition_date=(OLD, NEW)[number],
                conversation_id=name,
                division_id=f"d{number}",
                division_name=division,
            )
        insert(con, "custody.chain_of_custody", partition_date=NEW, conversation_id="x", recording_id="x-1")
        snapshot_for_analysts(con, home)
    path = home.retention_path
    assert path is not None
    path.write_text(
        "version: 1\nauthority: schedule\nrules:\n  - {name: all, keep: 1 month}\n"
        "  - {name: claims, keep: 2 years, select: {divisions: [claims eu]}}\n"
        "  - {name: d1, keep: 3 years, select: {divisions: [D1]}}\n"
    )
    assert [(item.conversation_id, str(item.day), item.rule) for item in due(home, load_policy(path))] == [
        ("old", "2028-11-03", "claims"),
        ("new", "2029-12-03", "d1"),
        ("x", "2029-12-03", "d1 (not known)"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("captures: 10 days", "captures: soon", "captures: 'soon'; expected a number and days"),
        (
            "captures: 10 days",
            "recordings: 10 days",
            "unknown field 'recordings'; accepted: captures, documents, keep, landing",
        ),
        (
            "    packages: 1 month\n",
            "    packages: 1 month\n  - name: nothing\n",
            "expected 'keep:', or one of landing",
        ),
    ],
)
def test_a_wrong_time_is_refused_with_the_accepted_form(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "retention.yaml"
    path.write_text(POLICY.replace(old, new, 1))
    with pytest.raises(RefusedFileError, match=r"retention.yaml:\d+: ") as refused:
        load_policy(path)
    assert says in str(refused.value)
