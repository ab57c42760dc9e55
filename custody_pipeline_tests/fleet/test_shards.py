"""A night's warehouse checked out and in: whatever happens to a worker, each load and each act is there once."""

from __future__ import annotations

import itertools
import os
import shutil
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from pydantic import SecretStr

from custody_pipeline.extract import collector
from custody_pipeline.extract.collector import Collector
from custody_pipeline.fleet import shards
from custody_pipeline.fleet.night_objects import Nights, ShardError
from custody_pipeline.fleet.overview import refresh
from custody_pipeline.fleet.shards import NightTakenError, NightWarehouse, tidy_nights
from custody_pipeline.fleet.shared_rows import NEAR, SHARED
from custody_pipeline.io import objects
from custody_pipeline.io.clock import utc_now
from custody_pipeline.load.pipeline import load
from custody_pipeline.models.night_views import WHOLE
from custody_pipeline.operations.doctor import examine
from custody_pipeline.operations.doctor_line import Line
from custody_pipeline.publish.place import PublishPlaceError, require_place
from custody_pipeline.settings import SettingsError, load_settings
from custody_pipeline.warehouse.connection import Warehouse, WarehouseError
from custody_pipeline.warehouse.kept_open import kept_open
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts
from custody_pipeline_tests.publish.killing import Killed, KilledClient, Replaced

if TYPE_CHECKING:
    import duckdb

    from custody_pipeline.settings import Settings

pytestmark = pytest.mark.server

NIGHT = date(2026, 11, 2)
ACT = Act(
    NIGHT, "accessed", "story of the recording", "reading", "custody explain", conversation_id="c", recording_id="r"
)


def worker(settings: Settings, name: str, night: date = NIGHT) -> NightWarehouse:
    return NightWarehouse(settings.model_copy(update={"home": settings.home / name}), night)


def collect(at: NightWarehouse, con: duckdb.DuckDBPyConnection, *names: str) -> None:
    """Load queues with these names as a night's run does."""
    with Collector(at.settings, at.night) as collecting:
        with collecting.load("queues") as queues:
            for name in names:
                queues.add_made({"id": f"id of {name[0]}"}, "api:/queues", {"id": f"id of {name[0]}", "name": name})
        load(con, [queues.landing])


def queues(at: NightWarehouse) -> list[str]:
    """The names that the night's own loads found."""
    found = "SELECT queue_name FROM raw.queues WHERE partition_date = ? ORDER BY ALL"
    with at.open(read_only=True) as con:
        return [name for (name,) in con.execute(found, [at.night]).fetchall()]


def run(at: NightWarehouse, *names: str) -> None:
    with at.open() as con:
        collect(at, con, *names)
        at.check_in(con)


def test_of_two_workers_with_one_night_the_second_is_told_and_loses_nothing(settings: Settings) -> None:
    first, second = worker(settings, "first"), worker(settings, "second")
    with first.open() as con, second.open() as other:
        collect(first, con, "Sales")
        collect(second, other, "Help")
        first.check_in(con)
        with pytest.raises(NightTakenError, match="another worker ran the night of 2026-11-02 meanwhile"):
            second.check_in(other)
    assert queues(second) == ["Help", "Sales"]


def test_a_night_that_stays_open_is_compared_with_other_workers_after_each_check_in(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IDLE_SECONDS", "LONG_SECONDS"):  # however busy this machine is
        monkeypatch.setattr(f"custody_pipeline.warehouse.kept_open.{name}", 600)
    first, second = worker(settings, "first"), worker(settings, "second")
    with kept_open():
        with first.open() as con:
            collect(first, con, "Sales")
        with first.open() as same:
            assert same is con
            first.check_in(con)
        run(second, "Help")
        with first.open() as other:
            assert other is not con
            collect(first, other, "Hotline")
        run(second, "Support")
        with pytest.raises(NightTakenError), first.open() as other:
            first.check_in(other)
        assert queues(first) == ["Help", "Hotline", "Sales", "Support"]


def test_a_conflict_that_passes_is_no_other_worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 answers ConditionalRequestConflict while another request about the object is under way, and asks to retry."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    at, refused = worker(settings, "home"), list[str]()
    run(at, "Sales")

    def conflict(put: Any, **request: Any) -> Any:
        if "raw/" in request["Key"] and not refused:
            refused.append(request["Key"])
            raise ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject")
        return put(**request)

    at.place.__dict__["client"] = Replaced(at.place.client, put_object=conflict)
    run(at, "Help")
    assert refused
    assert queues(worker(settings, "other")) == ["Help", "Sales"]


def test_a_workers_file_of_a_night_that_s3_has_is_removed_when_no_run_needs_it(settings: Settings) -> None:
    at, unsaved = worker(settings, "home"), worker(settings, "home", NIGHT + timedelta(days=1))
    run(at, "Sales")
    with unsaved.open() as con:
        collect(unsaved, con, "Help")
    left = at.path.with_name("check-in-of-a-killed-process")
    left.mkdir()
    later = datetime.now(UTC) + timedelta(days=settings.landing_days, minutes=1)
    assert tidy_nights(at.settings, datetime.now(UTC)) == []
    assert tidy_nights(at.settings, later, dry_run=True) == [NIGHT]
    with at.locked():
        assert tidy_nights(at.settings, later) == []
    assert at.path.exists()
    assert tidy_nights(at.settings, later) == [NIGHT]
    assert not at.path.exists()
    assert not left.exists()
    assert (queues(at), queues(unsaved)) == (["Sales"], ["Help"])


def test_what_was_written_after_a_check_in_is_checked_in_without_the_loads(settings: Settings) -> None:
    at = worker(settings, "home")
    with at.open() as con:
        collect(at, con, "Sales")
        at.check_in(con)
        assert at.path.with_name("raw.duckdb").exists()
        append_acts(con, Actor("me", "1", None), [ACT])
        at.check_in(con, again=True)
        assert not at.path.with_name("raw.duckdb").exists()
        append_acts(con, Actor("me", "1", None), [ACT])
        collect(at, con, "Help")
        at.check_in(con, again=True)
    other = worker(settings, "other")
    assert queues(other) == ["Help", "Sales"]
    with other.open(read_only=True) as con:
        assert con.execute("SELECT count(*) FROM raw.acts").fetchone() == (2,)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_worker_killed_at_any_write_leaves_each_load_and_act_once(settings: Settings, done: bool) -> None:
    for number in itertools.count():
        night = date(2026, 11, 1 + number)
        Nights.of(settings).put_acts(Actor("me", "1", None), [Act(**{**vars(ACT), "night": night})])
        dying = worker(settings, "dying", night)
        killed = KilledClient(dying.place.client, number, done=done)
        with dying.open() as con:
            collect(dying, con, "Sales")
            dying.place.__dict__["client"] = killed
            try:
                dying.check_in(con)
            except Killed:
                pass
            else:
                break
        shards._OURS.clear()
        # Another worker takes the night over; then the first one comes back to life.
        for name in ("next", "dying"):
            back = worker(settings, name, night)
            assert queues(back) == ["Sales"], (number, name)
            with back.open() as con:
                assert con.execute("SELECT count(*) FROM raw.acts WHERE partition_date = ?", [night]).fetchone() == (1,)
                back.check_in(con)
            assert Nights.of(settings).pending_acts(night) == []
    assert number == 4  # the warehouse, two objects for other nights, the act that was taken in


def test_a_worker_that_pauses_before_it_puts_shared_rows_leaves_newer_ones(settings: Settings) -> None:
    first, second = worker(settings, "first"), worker(settings, "second")
    meanwhile = iter([lambda: run(second, "Help")])

    def pause(put: Any, **request: Any) -> Any:
        if "/shared/" in request["Key"]:
            next(meanwhile, lambda: None)()
        return put(**request)

    with first.open() as con:
        collect(first, con, "Sales")
        first.place.__dict__["client"] = Replaced(first.place.client, put_object=pause)
        first.check_in(con)
    assert names_known_to(worker(settings, "other", date(2026, 11, 4))) == ["Help", "Sales"]


def test_shared_rows_that_an_older_run_put_late_are_replaced(settings: Settings) -> None:
    older, newer = worker(settings, "older"), worker(settings, "newer")
    run(older, "Sales")
    client, at = older.place.client, older.place.shared(NIGHT)
    late = client.get_object(Bucket=at.bucket, Key=at.key)["Body"].read()
    run(older, "Sales", "Hotline")
    puts = 0

    def overtaken(put: Any, **request: Any) -> Any:
        nonlocal puts
        if request["Key"] == at.key:
            puts += 1
            if puts == 1:
                client.put_object(Bucket=at.bucket, Key=at.key, Body=late)
        return put(**request)

    with newer.open() as con:
        collect(newer, con, "Help")
        newer.place.__dict__["client"] = Replaced(newer.place.client, put_object=overtaken)
        newer.check_in(con)
    assert puts == 2
    assert names_known_to(worker(settings, "other", date(2026, 11, 4))) == ["Help", "Hotline", "Sales"]


def names_known_to(at: NightWarehouse) -> list[str]:
    with at.open() as con:
        return [name for (name,) in con.execute("SELECT queue_name FROM raw.queues ORDER BY ALL").fetchall()]


def test_acts_of_several_nights_are_stored_all_or_none(settings: Settings) -> None:
    nights = [NIGHT, date(2026, 11, 3)]
    acts, actor = [Act(**{**vars(ACT), "night": night}) for night in nights], Actor("me", "1", None)
    for number in itertools.count():
        place = Nights.of(settings.model_copy(update={"nights_url": f"{settings.nights_url}/{number}"}))
        working = place.client
        place.__dict__["client"] = KilledClient(working, number)
        try:
            place.put_acts(actor, acts)
        except Killed:
            pass
        else:
            break
        place.__dict__["client"] = working
        there = [len(place.pending_acts(night)) for night in nights]
        assert there == ([0, 0] if number == 0 else [1, 1])
    assert number == 4  # all acts, the acts of two nights, and the removal


def test_acts_are_stored_once_if_only_their_division_fails(settings: Settings) -> None:
    place, later = Nights.of(settings), date(2026, 11, 3)

    def refuse(put: Any, **request: Any) -> Any:
        if f"/date={later}/" in request["Key"]:
            raise ClientError({"Error": {"Code": "SlowDown"}}, "PutObject")
        return put(**request)

    place.__dict__["client"] = Replaced(place.client, put_object=refuse)
    place.put_acts(Actor("me", "1", None), [ACT, Act(**{**vars(ACT), "night": later})])
    for night in (NIGHT, later):
        at = worker(settings, "home", night)
        with at.open() as con:
            at.check_in(con)
            assert con.execute("SELECT count(*) FROM raw.acts WHERE partition_date = ?", [night]).fetchone() == (1,)
    assert Nights.of(settings).pending_acts(NIGHT) == []


def test_a_shard_older_than_its_receipts_is_completed_from_them(settings: Settings) -> None:
    at = worker(settings, "home")
    client, place = at.place.client, at.place.raw(NIGHT)
    run(at, "Sales")
    older = client.get_object(Bucket=place.bucket, Key=place.key)["Body"].read()
    run(at, "Help")
    client.put_object(Bucket=place.bucket, Key=place.key, Body=older)
    assert queues(worker(settings, "other")) == ["Help", "Sales"]


def test_nights_know_each_others_names_and_tell_each_only_once(settings: Settings) -> None:
    first, second = worker(settings, "a"), worker(settings, "b", date(2026, 11, 3))
    run(first, "Sales", "Help")
    run(second, "Sales", "Hotline")
    told = {path.name.split(".")[0]: path for path in Nights.of(second.settings).shared_copies()}
    assert len(told) == 2
    with worker(settings, "c", date(2026, 11, 4)).open() as con:
        names = con.execute("SELECT partition_date, queue_name FROM raw.queues ORDER BY ALL").fetchall()
    assert names == [(NIGHT, "Help"), (NIGHT, "Sales"), (date(2026, 11, 3), "Hotline")]


def test_a_warehouse_too_large_for_one_put_is_checked_in_on_the_same_condition(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "SINGLE_PUT_BYTES", 100_000)
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)
    first, second = worker(settings, "first"), worker(settings, "second")
    run(first, "Sales")
    with first.open() as con, second.open() as other:
        first.check_in(con)
        with pytest.raises(NightTakenError):
            second.check_in(other)


def test_a_damaged_base_is_named_and_the_night_goes_on_without_it(settings: Settings) -> None:
    at = worker(settings, "home")
    run(at, "Sales")
    at.path.with_name("base.json").write_bytes(b'{"etag": ')
    with pytest.raises(ShardError, match=r"base\.json is not as it was written .*remove the folder .*/2026-11-02, "):
        queues(at)
    shutil.rmtree(at.path.parent)
    assert queues(at) == ["Sales"]


def test_credentials_that_expire_keep_the_night_on_this_worker(settings: Settings) -> None:
    at = worker(settings, "home")

    class Expired:
        def put_object(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": "ExpiredToken"}}, "PutObject")

    with at.open() as con:
        collect(at, con, "Sales")
        working, at.place.__dict__["client"] = at.place.client, Expired()
        with pytest.raises(ShardError, match=r"stays in .*nights/2026-11-02: S3 answered ExpiredToken"):
            at.check_in(con)
    at.place.__dict__["client"] = working
    with at.open() as con:
        at.check_in(con)
    assert queues(worker(settings, "other")) == ["Sales"]


def test_workers_must_share_landing_files_key_and_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_NIGHTS_URL", "s3://nights")
    monkeypatch.setenv("CUSTODY_PUBLISH_URL", "s3://published")
    with pytest.raises(SettingsError, match=r"set CUSTODY_LANDING_URL, CUSTODY_SIGNING_KEY, CUSTODY_SALT_SECRET"):
        load_settings()


def test_whatever_a_model_reads_of_other_nights_is_told() -> None:
    assert SHARED.keys() | NEAR.keys() >= WHOLE


def test_doctor_tries_conditions_where_nights_lie_and_reads_where_files_land(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        monkeypatch.setenv(f"CUSTODY_{name.upper()}", text)

    def line(check: str = "nights bucket claims") -> Line:
        return next(line for line in examine() if line.check == check)

    assert (line().state, line("landing bucket").state) == ("ok", "ok")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("CUSTODY_LANDING_URL", "s3://nowhere-at-all")
        assert line("landing bucket").found == "NoSuchBucket: ListObjectsV2"
    ignore_conditions(monkeypatch)
    assert line().found == "a write under a condition that does not hold was accepted"


def ignore_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that takes a conditional write for any other."""
    clients: Any = BaseClient
    put = clients._make_api_call

    def without_conditions(client: Any, name: str, asked: dict[str, Any]) -> Any:
        return put(client, name, {key: value for key, value in asked.items() if key not in {"IfMatch", "IfNoneMatch"}})

    monkeypatch.setattr(BaseClient, "_make_api_call", without_conditions)


@pytest.mark.parametrize("nights", [True, False], ids=["several workers", "one home"])
def test_where_conditions_are_ignored_workers_begin_nothing_and_one_home_is_warned(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, nights: bool
) -> None:
    require_place(settings)
    assert caplog.messages == []
    ignore_conditions(monkeypatch)
    if nights:
        with pytest.raises(PublishPlaceError, match="nothing was collected, because S3 accepted a write to s3://"):
            require_place(settings)
    else:
        require_place(settings.model_copy(update={"nights_url": None}))
        assert [line.partition(" to ")[0] for line in caplog.messages] == ["S3 ignores the conditions of writes"]


def test_a_worker_whose_clock_is_behind_still_loads_what_is_newest(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utc_now()
    for name, ahead, found in (("first", 1, "Sales"), ("second", -1, "Support"), ("third", 0, "Service")):
        clock = now + timedelta(days=ahead)
        monkeypatch.setattr(collector, "utc_now", lambda clock=clock: clock)
        run(worker(settings, name), found)
    with worker(settings, "fourth").open(read_only=True) as con:
        loads = con.execute(
            "SELECT queue_name FROM raw.queues INNER JOIN raw.extraction_receipts USING (partition_date, landing_id) "
            "ORDER BY sequence"
        ).fetchall()
    assert loads == [("Sales",), ("Support",), ("Service",)]


@pytest.mark.parametrize("content", [b"", b"x" * 100_000])
def test_a_damaged_database_over_all_nights_is_made_again(settings: Settings, content: bytes) -> None:
    path = refresh(settings)
    path.unlink()
    path.write_bytes(content)
    assert refresh(settings).read_bytes() != content


def test_what_a_killed_copy_left_goes_with_the_next_one(settings: Settings) -> None:
    run(worker(settings, "home"), "Sales")
    at = worker(settings, "other")
    told = at.settings.home / "nights/told/shared-date=2026-11-02.1.parquet.1.partial"
    left = at.path.with_name("warehouse.duckdb.1.partial")
    for path in (told, left):
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1, 1))
    Nights.of(at.settings).shared_copies()
    assert queues(at) == ["Sales"]
    assert not told.exists()
    assert not left.exists()


def test_a_copy_stays_while_another_process_of_the_home_may_be_reading_it(settings: Settings) -> None:
    at = worker(settings, "home")
    run(at, "Sales")
    (older,) = Nights.of(settings).shared_copies()
    run(at, "Help")
    (newer,) = Nights.of(settings).shared_copies()
    assert older.exists()
    os.utime(older, (1, 1))
    assert Nights.of(settings).shared_copies() == [newer]
    assert not older.exists()


def test_there_is_no_one_warehouse_of_several_workers(settings: Settings) -> None:
    with pytest.raises(WarehouseError, match="each night has its own warehouse"), Warehouse(settings).open():
        pass
