"""A whole night is one plain function: without Dagster, in one process, published and verified."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from custody_pipeline.evidence.cut.manifest import Receipt
from custody_pipeline.extract.landing_files import content_of, read_lines
from custody_pipeline.io.objects import listed
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.night import ChecksFailedError, Night, publish, run
from custody_pipeline.operations import rebuild as rebuild_module
from custody_pipeline.operations.rebuild import (
    RebuildError,
    _loads_of_cuts,
    differing_tables,
    rebuild,
    unknown_nights,
)
from custody_pipeline.operations.summary import nights
from custody_pipeline.operations.verification import public_keys, verify_target
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.current_copies import Publication
from custody_pipeline.publish.landed import cuts_by_night
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.local_s3 import LocalS3
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.warehouse.connection import Warehouse, WarehouseBusyError
from custody_pipeline_tests import ready_warehouse
from custody_pipeline_tests.simulated import vendor

pytestmark = pytest.mark.server

DAY = date(2026, 11, 2)
COUNTED = Path(__file__).with_name("counted.json")


@dataclass(frozen=True)
class Ran:
    """A deployment whose night was run twice."""

    settings: Settings
    night: Night
    publications: list[Publication]
    counts: dict[str, int] = field(default_factory=dict)


@contextmanager
def counted(patched: pytest.MonkeyPatch, counts: dict[str, int], name: str) -> Iterator[None]:
    """Count the SQL statements of the block; a night's own time says nothing on another machine."""
    execute = duckdb.DuckDBPyConnection.execute

    def counting(con: duckdb.DuckDBPyConnection, *given: Any, **named: Any) -> duckdb.DuckDBPyConnection:
        counts[name] = counts.get(name, 0) + 1
        return execute(con, *given, **named)

    patched.setattr(duckdb.DuckDBPyConnection, "execute", counting)
    yield
    patched.setattr(duckdb.DuckDBPyConnection, "execute", execute)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    # DuckDB takes such folders for columns, unless it is told not to: `date` of none, `state` of every document.
    home = tmp_path_factory.mktemp("home") / "date=2026-11-01" / "state=away"
    home.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patched, LocalS3(tmp_path_factory.mktemp("s3")) as s3:
        patched.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
        patched.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
        organization = Organization(seed=7, night=DAY, size=6, faults=FaultPlan.none())
        with vendor(organization, s3, home, bucket="exports", publish_url="s3://dataset/prod") as found:
            s3_client(found.settings).create_bucket(Bucket="dataset")
            night = Night(found.settings, load_mapping(found.settings.mapping_path), DAY)
            counts: dict[str, int] = {}
            with counted(patched, counts, "statements of the first run"):
                publications = [run(night)]
            client, place = s3_client(found.settings), S3Location.parse("s3://dataset/prod")
            counts["bytes published"] = sum(found["Size"] for _, found in listed(client, place))
            with counted(patched, counts, "statements of the second run"):
                publications.append(run(night))
            with night.warehouse.open() as con:
                requests = con.execute("SELECT sum(requests)::INTEGER FROM raw.extraction_receipts").fetchone()
            counts["requests of both runs"] = requests[0] if requests else 0
            yield Ran(found.settings, night, publications, counts)


def test_a_night_asks_writes_and_queries_no_more_than_a_quarter_above_what_it_did(ran: Ran) -> None:
    """`WRITE_GOLDEN=1` writes the file anew, for a change that is worth it."""
    if os.environ.get("WRITE_GOLDEN"):
        COUNTED.write_text(json.dumps(ran.counts, indent=2) + "\n")
    before = json.loads(COUNTED.read_text())
    assert ran.counts.keys() == before.keys()
    assert not {name: (before[name], found) for name, found in ran.counts.items() if found > 1.25 * before[name]}


def test_a_night_is_collected_modelled_published_and_not_published_twice(ran: Ran) -> None:
    assert [(one.revision, one.changed) for one in ran.publications] == [(1, True), (1, False)]
    assert verify_target(ran.settings, "s3://dataset/prod").status == 0


@pytest.mark.parametrize("lost", ["nothing", "landing/conversation_details", "landing"])
def test_a_lost_warehouse_is_rebuilt_and_gives_the_same_published_bytes(ran: Ran, tmp_path: Path, lost: str) -> None:
    place, before = ran.settings.home / lost, nights(ran.settings)

    def say(_: str) -> None:
        """A run that begins meanwhile waits: its warehouse would be replaced."""
        with pytest.raises(WarehouseBusyError), Warehouse(ran.settings, lock_timeout=0).open():
            pass

    with pytest.raises(RebuildError, match="move it away first"):
        rebuild(ran.settings, ran.night.mapping, say)
    assert unknown_nights(ran.settings) == []
    if lost != "nothing":
        place.rename(tmp_path / "lost")
    ran.settings.warehouse_path.rename(tmp_path / "warehouse.duckdb")
    assert unknown_nights(ran.settings) == [str(DAY)]
    # A killed run leaves a log, with which DuckDB could not open the new file.
    (log := ran.settings.home / "warehouse.duckdb.wal").touch()
    with pytest.raises(RebuildError, match=r"warehouse\.duckdb\.wal is there: move it away first"):
        rebuild(ran.settings, ran.night.mapping, say)
    log.unlink()
    (found,) = rebuild(ran.settings, ran.night.mapping, say)
    if lost != "nothing":
        (tmp_path / "lost").rename(place)
    # No cut was made from the second run, which found nothing new.
    assert len(found.lost) == (lost == "landing/conversation_details")
    assert (found.revision, found.differing) == (1, ())
    with ran.night.warehouse.open() as con:
        assert con.execute("SELECT content_sha256 FROM raw.publications").fetchall() == [
            (ran.publications[0].content_sha256,)
        ]
        publication, _ = publish(con, ran.night)
    assert (publication.revision, publication.changed) == (1, False)
    assert nights(ran.settings) == before


def test_no_clock_decides_which_load_of_the_cuts_is_the_newest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def receipt(state: str, minute: int) -> Receipt:
        at = f"2026-11-03T02:{minute}:00Z"
        return Receipt("conversations", state, 1, 1, 1, 0, 1, 0, at, at, None, None, ())

    def cut(*receipts: Receipt) -> Any:
        who = dict.fromkeys(("collector", "organization_id", "operator", "tool_version", "git_revision"), "x")
        return SimpleNamespace(cut=SimpleNamespace(receipts=receipts, night=str(DAY), **who))

    # The first load's clock was fast, and so was that of a run that failed.
    first, failed, second = receipt("complete", 40), receipt("failed", 50), receipt("complete", 30)
    found = [cut(first), cut(failed, first), cut(second)]
    sources = SimpleNamespace(cuts={DAY: found}, settings=SimpleNamespace(landing="l"), folder=lambda: tmp_path)
    monkeypatch.setattr(rebuild_module, "landing_at", lambda _sources, _night, landed, _uri: landed)
    loads: Any = _loads_of_cuts(sources, DAY)  # type: ignore[arg-type]
    landed = [json.loads(content_of(line)) for file in loads for line in read_lines(file)]
    assert [(told["sequence"], told["started_at"][14:16], told["receipt_state"]) for told in landed] == [
        (1, "40", "complete"), (2, "50", "failed"), (3, "30", "complete")
    ]  # fmt: skip


def test_a_rebuild_says_which_tables_differ_from_what_is_published(ran: Ran, tmp_path: Path) -> None:
    reader = S3Reader(s3_client(ran.settings), S3Location.parse("s3://dataset/prod"))
    (cut,) = cuts_by_night(reader, public_keys(ran.settings, []))[DAY]

    def read(path: str) -> Path:
        copy = tmp_path / Path(path).name
        with copy.open("wb") as file, reader.open(f"{cut.cut.prefix}{path}") as stream:
            shutil.copyfileobj(stream, file)
        return copy

    with ran.night.warehouse.open() as con:
        assert differing_tables(con, DAY, cut.cut, read) == ()
        con.execute("BEGIN; COMMENT ON COLUMN custody.custom_data.tag_value IS 'in the words of another version'")
        assert differing_tables(con, DAY, cut.cut, read) == ()
        assert (tmp_path / "custom_data.parquet").exists(), "the bytes differed"
        con.execute("UPDATE custody.custom_data SET tag_value = 'altered'")
        assert differing_tables(con, DAY, cut.cut, read) == ("custom_data",)
        con.execute("ROLLBACK")


def test_a_night_whose_check_fails_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custody_pipeline.night.COLLECT", {})
    monkeypatch.setattr("custody_pipeline.night.require_place", lambda _: None)
    monkeypatch.setattr("custody_pipeline.night.check", lambda *_: {"row_conservation": [{"lost": 1}]})
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
    from custody_pipeline.settings import load_settings

    settings = load_settings()
    ready_warehouse.lay(tmp_path)
    with pytest.raises(ChecksFailedError, match="row_conservation"):
        run(Night(settings, load_mapping(settings.mapping_path), DAY))
