"""What operators do to a night: kill it and start it again, run it beside another."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from datetime import date
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import duckdb
import pytest

from custody_pipeline.io.s3 import s3_client
from custody_pipeline.settings import load_settings
from custody_pipeline.simulator.demo import (
    PUBLISH_BUCKET,
    DemoOrganization,
    demo_environment,
    export_once,
)
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline_tests.forked import custody

pytestmark = pytest.mark.server

NIGHTS = (DemoOrganization(date(2026, 11, 2), 36, 7), DemoOrganization(date(2026, 11, 3), 36, 7))
# When and where something was seen; the platform's recording metadata holds links that are new at each request.
OBSERVATIONS = {
    "custom_data_captured_at",
    "media_hashed_at",
    "observed_at",
    "source_uri",
    "document_uri",
    "recording_metadata_sha256",
    "row_sha256",
}
CORRELATION = re.compile(r"correlation id [0-9a-f-]+")
TABLES = ("chain_of_custody", "custom_data", "gaps", "reconciliation")


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[date, str]]:
    """Both nights exported to one bucket; the environment points at it. Base URL of each night's organisation."""
    home = tmp_path_factory.mktemp("vendor")
    first, second = NIGHTS
    with demo_environment(home, first, lambda _: None) as settings:
        export_once(home, second, lambda _: None)
        with SimulatorServer(*second.organizations) as other:
            assert settings.genesys_domain is not None
            yield {first.night: str(settings.genesys_domain), second.night: other.base_url}


def start(home: Path, night: date, vendor: str) -> ForkServerProcess:
    """`custody run` for one night, in a process group of its own."""
    environment = {
        **os.environ,
        "CUSTODY_HOME": str(home),
        "CUSTODY_PUBLISH_URL": f"s3://{PUBLISH_BUCKET}/{home.name}",
        "CUSTODY_GENESYS_DOMAIN": vendor,
    }
    return custody("run", "--date", night.isoformat(), environment=environment, output=home / str(night))


def finish(home: Path, night: date, process: ForkServerProcess) -> None:
    process.join()
    # 1: the night is published, and its simulated source says that it is not complete there yet.
    assert process.exitcode == 1, (home / f"{night}.err").read_text()


def published(home: Path, night: date) -> Callable[[str], bool]:
    """Whether an object lies below a folder of the night that `home` publishes."""
    client = s3_client(load_settings())

    def lies(folder: str) -> bool:
        prefix = f"{home.name}/{folder}/date={night}/"
        return client.list_objects_v2(Bucket=PUBLISH_BUCKET, Prefix=prefix)["KeyCount"] > 0

    return lies


def kill_when(process: ForkServerProcess, reached: Callable[[], bool]) -> None:
    while not reached():
        process.join(0.02)
        assert process.exitcode is None, "the night ended before it could be killed there"
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.join()


def rows(home: Path, table: str, night: date) -> list[dict[str, object]]:
    """The analysts' rows of a night, in order."""
    with duckdb.connect(str(home / "analyst.duckdb"), read_only=True) as con:
        found = con.execute(f"SELECT * FROM custody.{table} WHERE partition_date = ? ORDER BY ALL", [night]).arrow()
        return [dict(row) for row in found.read_all().to_pylist()]


def unobserved(found: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows without when, where and by which request something was seen."""
    kept = [{name: value for name, value in row.items() if name not in OBSERVATIONS} for row in found]
    for row in kept:
        if "detail" in row:
            row["detail"] = CORRELATION.sub("", str(row["detail"]))
        if "evidence" in row:
            row["evidence"] = [CORRELATION.sub("", item["what"]) for item in json.loads(str(row["evidence"]))]
            del row["proofs"]  # the same as a list
    return sorted(kept, key=repr)


@pytest.fixture(scope="module")
def calm(vendors: dict[date, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which both nights ran at once, and nothing was killed."""
    home = tmp_path_factory.mktemp("calm")
    running = [(night, start(home, night, vendor)) for night, vendor in vendors.items()]
    for night, process in running:
        finish(home, night, process)
    return home


def test_two_nights_at_once_are_both_published(calm: Path) -> None:
    for night in (demo.night for demo in NIGHTS):
        assert rows(calm, "chain_of_custody", night)
        assert published(calm, night)("parquet/chain_of_custody")


def test_a_night_killed_anywhere_and_started_again_ends_like_one_that_was_not(
    vendors: dict[date, str], calm: Path, tmp_path: Path
) -> None:
    night, killed = NIGHTS[0].night, tmp_path
    lies = published(killed, night)
    for reached in (
        lambda: (killed / "warehouse.duckdb").exists(),
        lambda: lies("parquet/gaps"),
    ):
        kill_when(start(killed, night, vendors[night]), reached)
    finish(killed, night, start(killed, night, vendors[night]))
    killings = [row for row in rows(killed, "custody_events", night) if row["what"] == "run was killed"]
    assert 1 <= len(killings) <= 2  # a run that was killed before Dagster began it is none yet
    for table in TABLES:
        assert unobserved(rows(killed, table, night)) == unobserved(rows(calm, table, night)) != []
