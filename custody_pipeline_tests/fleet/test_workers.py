"""Nights that move between workers give what one machine gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from custody_pipeline.fleet.overview import overview
from custody_pipeline.fleet.shards import NightTakenError, NightWarehouse
from custody_pipeline.io.objects import listed
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.matters.holds import hold, release
from custody_pipeline.matters.register import new_matter
from custody_pipeline.matters.standing import standing_of
from custody_pipeline.matters.volume_writer import produce
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.run import run_models
from custody_pipeline.night import Night, run
from custody_pipeline.operations import rebuild as rebuild_module
from custody_pipeline.operations.explain import GapFilter, explain, gaps, record_explained
from custody_pipeline.operations.rebuild import RebuiltNight, rebuild
from custody_pipeline.operations.summary import nights
from custody_pipeline.operations.verification import verify_target
from custody_pipeline.publish.current_copies import Publication
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.local_s3 import LocalS3, S3Endpoint
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.warehouse.ledger import Actor
from custody_pipeline_tests.publish.homes import write_keys
from custody_pipeline_tests.publish.killing import Killed
from custody_pipeline_tests.simulated import vendor

pytestmark = pytest.mark.server

DAYS = [date(2026, 11, 2), date(2026, 11, 3)]
MANY = [date(2026, 11, day) for day in (2, 3, 4, 5)]


class Fleet:
    """Workers that share S3, the key and the salt, and nothing else."""

    def __init__(self, folder: Path, s3: S3Endpoint, stack: ExitStack, days: list[date]) -> None:
        self.folder, self.s3, self.stack, self.days = folder, s3, stack, days
        keys = write_keys(folder / "keys")
        self.shared: dict[str, Any] = {
            "nights_url": "s3://nights/prod",
            "landing_url": "s3://landing",
            "publish_url": "s3://dataset/prod",
            "signing_key_file": keys / "demo.key",
            "salt_secret": (keys / "salt").read_text(),
        }
        self.vendors = {day: self._vendor(day, FaultPlan.none(), f"exports-{day}") for day in days}
        for bucket in ("nights", "landing", "dataset"):
            s3_client(self.vendors[days[0]]).create_bucket(Bucket=bucket)

    def _vendor(self, day: date, faults: FaultPlan, bucket: str) -> Settings:
        organization = Organization(seed=7, night=day, size=4, faults=faults)
        home = self.folder / "vendor"
        return self.stack.enter_context(vendor(organization, self.s3, home, bucket=bucket, **self.shared)).settings

    def at(self, worker: str, day: date) -> Settings:
        return self.vendors[day].model_copy(update={"home": self.folder / worker})

    def run(self, worker: str, day: date) -> Publication:
        settings = self.at(worker, day)
        return run(Night(settings, load_mapping(settings.mapping_path), day))

    def rounds(self, workers: str) -> list[list[Publication]]:
        """Every night on a worker, then every night on another one."""
        return [
            [self.run(workers[(number + shift) % len(workers)], day) for number, day in enumerate(self.days)]
            for shift in (0, 1)
        ]

    def one_machine(self) -> tuple[Settings, list[RebuiltNight]]:
        """A home with one warehouse, made from the same landing files."""
        settings = self.at("one", self.days[0]).model_copy(update={"nights_url": None})
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(rebuild_module, "run_models", self._run_models_after_all_nights_are_placed)
            return settings, rebuild(settings, load_mapping(settings.mapping_path), lambda _: None)

    def _run_models_after_all_nights_are_placed(self, con: duckdb.DuckDBPyConnection, *given: Any) -> dict[str, int]:
        placed = con.execute("SELECT DISTINCT partition_date FROM staging.placed_ids WHERE is_placed ORDER BY ALL")
        assert [night for (night,) in placed.fetchall()] == self.days
        return run_models(con, *given)


def new_fleet(folder: Path, stack: ExitStack, days: list[date]) -> Fleet:
    patched = stack.enter_context(pytest.MonkeyPatch.context())
    s3 = stack.enter_context(LocalS3(folder / "s3"))
    patched.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    patched.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    return Fleet(folder, s3, stack, days)


@dataclass(frozen=True)
class Ran:
    """Two nights on two workers, then each on the other one."""

    fleet: Fleet
    rounds: list[list[Publication]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    with ExitStack() as stack:
        fleet = new_fleet(tmp_path_factory.mktemp("fleet"), stack, DAYS)
        yield Ran(fleet, fleet.rounds("ab"))


def assert_one_revision_as_on_one_machine(fleet: Fleet, rounds: list[list[Publication]]) -> None:
    assert [[(one.revision, one.changed) for one in ran] for ran in rounds] == [
        [(1, True)] * len(fleet.days),
        [(1, False)] * len(fleet.days),
    ]
    settings, found = fleet.one_machine()
    assert [(night.revision, night.differing, night.lost) for night in found] == [(1, (), ())] * len(fleet.days)
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as con:
        hashes = con.execute("SELECT content_sha256 FROM raw.publications ORDER BY partition_date").fetchall()
    assert hashes == [(one.content_sha256,) for one in rounds[0]]


def test_nights_that_moved_stay_at_their_revision_with_the_content_of_one_machine(ran: Ran) -> None:
    assert_one_revision_as_on_one_machine(ran.fleet, ran.rounds)
    assert verify_target(ran.fleet.at("a", DAYS[0]), "s3://dataset/prod").status == 0


def test_a_machine_that_ran_nothing_reads_all_nights(ran: Ran) -> None:
    settings = ran.fleet.at("reader", DAYS[0])
    found = nights(settings)
    assert [(night.night, night.recordings, night.revision) for night in found] == [
        (day, night.recordings, 1) for day, night in zip(DAYS[::-1], found, strict=True)
    ]
    assert all(night.recordings and night.files for night in found)
    assert {night.state for night in found} == {"final"}
    _, rows = gaps(settings, GapFilter(first=DAYS[0]))
    with overview(settings) as con:
        assert con is not None
        ((recordings, named, wanted),) = con.execute(
            "SELECT count(*), count(DISTINCT partition_date), (SELECT sum(recordings) FROM custody.nights) "
            "FROM custody.chain_of_custody"
        ).fetchall()
        assert (recordings, named) == (wanted, len(DAYS))
        assert con.execute("SELECT count(*) FROM custody.gaps").fetchone() == (len(rows),)


def test_a_matter_is_produced_and_held_by_a_machine_that_ran_nothing(ran: Ran, tmp_path: Path) -> None:
    settings = ran.fleet.at("counsel", DAYS[0])
    new_matter(settings, "smith", "Smith", "1", {"from": str(DAYS[0]), "to": str(DAYS[1]), "where": "1 = 1"})
    matter, register, found = standing_of(settings, "smith")
    with overview(settings) as con:
        assert con is not None
        assert (
            len(found.found.recordings) == con.execute("SELECT count(*) FROM custody.chain_of_custody").fetchall()[0][0]
        )
    assert [(night.state, night.revision) for night in found.nights] == [("final", 1)] * 2
    actor = Actor.of(settings)
    (volume,) = produce(settings, "s3://dataset/prod", matter, register, found, tmp_path, actor)
    assert volume.recordings == found.remaining > 0
    keys = sorted((ran.fleet.folder / "keys").glob("*.pub"))
    assert verify_target(settings, str(volume.folder), keys=keys).status == 0
    actions = {event["action"] for event in json.loads((volume.folder / "custody-log.json").read_text())}
    assert actions >= {"exported", "collected", "hashed"}
    of_vendor = [item for item in found.found.recordings if item.night == DAYS[0]]  # each night has a vendor of its own
    held = hold(settings, register, of_vendor, actor, matter.why)
    assert held.count()["conversations"] == len({item.conversation_id for item in of_vendor})
    assert held.failed
    assert all("no Object Lock" in why for why in held.failed.values())
    assert release(settings, register, actor, matter.why).failed == {}


def test_who_read_a_story_is_known_to_the_next_run_on_any_worker(ran: Ran) -> None:
    settings = ran.fleet.at("reader", DAYS[1])
    with overview(settings) as con:
        assert con is not None
        ((recording,),) = con.execute(
            "SELECT min(recording_id) FROM custody.chain_of_custody WHERE partition_date = ?", [DAYS[1]]
        ).fetchall()
    story = explain(settings, recording)
    assert story is not None
    record_explained(settings, story)
    night = Night(ran.fleet.at("c", DAYS[1]), load_mapping(settings.mapping_path), DAYS[1])
    with night.warehouse.open() as con:
        night.warehouse.check_in(con)
    # The object of the act is gone by now, and a third worker has it all the same.
    for worker in "cd":
        with Night(ran.fleet.at(worker, DAYS[1]), night.mapping, DAYS[1]).warehouse.open(read_only=True) as con:
            assert con.execute("SELECT recording_id FROM raw.acts WHERE action = 'accessed'").fetchall() == [
                (recording,)
            ]


def test_a_tag_that_vanished_between_loads_is_told_once_though_a_worker_is_killed_after_sealing(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = DAYS[0]
    ran.fleet.vendors[day] = ran.fleet._vendor(day, FaultPlan.only("REQUIRED_TAG_MISSING"), "exports-later")
    check_in, calls = NightWarehouse.check_in, []

    def killed(at: NightWarehouse, con: duckdb.DuckDBPyConnection, *, again: bool = False) -> None:
        """The second one of a run comes after the seal."""
        calls.append(at)
        if len(calls) == 2:
            raise Killed
        check_in(at, con, again=again)

    monkeypatch.setattr(NightWarehouse, "check_in", killed)
    with pytest.raises(Killed):
        ran.fleet.run("c", day)
    # The next worker finishes the revision that was sealed, and seals no other.
    assert ran.fleet.run("d", day).revision == 2
    assert ran.fleet.run("a", day).changed is False
    _, found = gaps(ran.fleet.at("reader", day), GapFilter(first=day, last=day))
    assert "TAG_VANISHED" in {row["reason"] for row in found}


def test_a_worker_that_stood_still_after_its_check_in_seals_nothing_over_what_a_later_one_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, check_in = DAYS[0], NightWarehouse.check_in
    later: list[Publication] = []

    def stopped(at: NightWarehouse, con: duckdb.DuckDBPyConnection, *, again: bool = False) -> None:
        """The machine sleeps after the first check-in; meanwhile another worker runs the night of today."""
        check_in(at, con, again=again)
        monkeypatch.setattr(NightWarehouse, "check_in", check_in)
        fleet.vendors[day] = fleet._vendor(day, FaultPlan.only("TAG_NEVER_SET"), "exports-of-today")
        later.append(fleet.run("b", day))

    monkeypatch.setattr(NightWarehouse, "check_in", stopped)
    with ExitStack() as stack:
        fleet = new_fleet(tmp_path, stack, [day])
        with pytest.raises(NightTakenError):
            fleet.run("a", day)
        (sealed,) = later
        place = S3Location.parse("s3://dataset/prod")
        cuts = [path for path, _ in listed(s3_client(fleet.at("a", day)), place, "cuts/") if path.endswith("/cut.json")]
    assert sealed.changed
    assert cuts == [f"cuts/date={day}/r0001/cut.json"]


@pytest.mark.slow
def test_four_nights_over_three_workers(tmp_path: Path) -> None:
    with ExitStack() as stack:
        fleet = new_fleet(tmp_path, stack, MANY)
        assert_one_revision_as_on_one_machine(fleet, fleet.rounds("abc"))
