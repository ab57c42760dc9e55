"""A home in which many small nights were run: what a night costs besides its work, and what it leaves.

    python -m bench.home                          # 20 nights of 60 calls
    python -m bench.home --nights 200 --calls 10

Everything is done as a person does it: `custody` commands, each a process of its own, against a local S3 server and the
simulated organisation without its rate limit. Growth is that of the second half of the nights.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import duckdb

from bench.night import NIGHT, NO_LIMIT, api_settings, organization
from bench.publish import in_bucket
from custody_pipeline.io.s3 import s3_client, s3_store
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.exporter import export_night
from custody_pipeline.simulator.local_s3 import LocalS3
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer

EXPORTS, DATASET = "exports", "dataset"
_CUSTODY = str(Path(sys.executable).with_name("custody"))


@dataclass(frozen=True)
class Found:
    """One line of the table. `goal`: at most so much, in the same unit."""

    what: str
    value: float
    unit: str
    goal: float

    def __str__(self) -> str:
        mark = "" if self.value <= self.goal else "  missed"
        return f"{self.what:<52}{self.value:>9.2f} {self.unit:<9}{self.goal:>6g}{mark}"


@dataclass(frozen=True)
class Sizes:
    """Bytes below a home, after so many nights."""

    dagster: int
    warehouse: int
    snapshot: int
    landing: int

    @classmethod
    def of(cls, home: Path) -> Sizes:
        """What lies there now."""
        return cls(
            _bytes(home / "dagster") - _free(home / "dagster" / "history" / "runs" / "index.db"),
            (home / "warehouse.duckdb").stat().st_size,
            (home / "analyst.duckdb").stat().st_size,
            _bytes(home / "landing"),
        )


def _free(database: Path) -> int:
    """Bytes of pages that SQLite will use again."""
    with closing(sqlite3.connect(database)) as con:
        return int(con.execute("PRAGMA freelist_count").fetchone()[0] * con.execute("PRAGMA page_size").fetchone()[0])


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def deployment(organizations: list[Organization], folder: Path) -> Iterator[Settings]:
    """The organisation's nights exported and served, and the settings of a home below `folder` as environment."""
    with LocalS3(folder / "server") as endpoint, SimulatorServer(*organizations, rate_limit=NO_LIMIT) as simulator:
        settings = in_bucket(
            api_settings(folder / "home", simulator.base_url),
            endpoint,
            export_url=f"s3://{EXPORTS}",
            publish_url=f"s3://{DATASET}/prod",
        )
        client = s3_client(settings)
        for bucket in (EXPORTS, DATASET):
            client.create_bucket(Bucket=bucket)
        for one in organizations:
            export_night(one, client, EXPORTS, store=s3_store(settings, EXPORTS))
        for name, value in settings.model_dump(exclude_defaults=True).items():
            secret = getattr(value, "get_secret_value", None)
            os.environ[f"CUSTODY_{name.upper()}"] = secret() if secret else str(value)
        os.environ["CUSTODY_RUNS_DAYS"] = "0"
        yield settings


def seconds(*arguments: object, runs: int = 1, status: int = 0) -> float:
    """How long `custody` takes from the shell with these arguments; the median of `runs`."""
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        done = subprocess.run([_CUSTODY, *map(str, arguments)], capture_output=True, text=True, check=False)
        taken.append(time.perf_counter() - started)
        if done.returncode != status:
            raise RuntimeError(f"custody {arguments} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr}")
    return statistics.median(taken)


def measured(settings: Settings, nights: list[date]) -> Iterator[Found]:
    """Run the nights but the last one in two halves, then the last one by itself, twice."""
    home, half = settings.home, (len(nights) - 1) // 2
    key = next((home / "keys").glob("*.pub"), None)
    early = seconds("run", "--from", nights[0], "--to", nights[half - 1])
    seconds("tidy")
    one, key = Sizes.of(home), key or next((home / "keys").glob("*.pub"))
    verified_early = seconds("verify", settings.publish_url, "--key", key, runs=3)
    late = seconds("run", "--from", nights[half], "--to", nights[2 * half - 1])
    young = Sizes.of(home)
    seconds("tidy")
    two = Sizes.of(home)
    yield Found("a night of a range, in one process", late / half, "s", 1.5)
    yield Found("the same in the first half", early / half, "s", 1.5)
    verified = seconds("verify", settings.publish_url, "--key", key, runs=3)
    yield Found("custody verify, one night more in the set", (verified - verified_early) / half, "s", 0.03)
    landing = two.landing - one.landing
    yield Found("Dagster's storage, a new run", (young.dagster - one.dagster) / half / 1e6, "MB", 0.5)
    yield Found("Dagster's storage, a run that custody tidy left", (two.dagster - one.dagster) / half / 1e6, "MB", 0.5)
    yield Found("warehouse, of the landing files", (two.warehouse - one.warehouse) / landing, "×", 3)
    yield Found("analyst.duckdb, of the landing files", (two.snapshot - one.snapshot) / landing, "×", 1)
    first = seconds("run", "--date", nights[-1])
    again = seconds("run", "--date", nights[-1])
    yield Found("custody run, a small night", first, "s", 4)
    yield Found("custody run, the same night unchanged", again / first, "× first", 0.3)
    yield Found("custody --help", seconds("--help", runs=5), "s", 0.25)
    yield Found("custody status", seconds("status", runs=5), "s", 0.4)
    yield Found("custody gaps --date", seconds("gaps", "--date", nights[-1], runs=5), "s", 0.5)
    with duckdb.connect(str(home / "analyst.duckdb"), read_only=True) as con:
        row = con.execute("SELECT recording_id FROM custody.chain_of_custody LIMIT 1").fetchone()
    assert row is not None, "the nights have recordings"
    yield Found("custody explain", seconds("explain", row[0], runs=5), "s", 0.5)


def main() -> None:
    """Print a line for each thing as it is measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.home", description=__doc__)
    parser.add_argument("--nights", type=int, default=20)
    parser.add_argument("--calls", type=int, default=60)
    arguments = parser.parse_args()
    nights = [NIGHT - timedelta(days=back) for back in range(arguments.nights, -1, -1)]
    organizations = [replace(organization(arguments.calls), night=night) for night in nights]
    print(f"{arguments.nights} nights of {arguments.calls} calls{'':<31}measured          goal")
    with (
        tempfile.TemporaryDirectory(prefix="custody-bench-") as folder,
        deployment(organizations, Path(folder)) as settings,
    ):
        for found in measured(settings, nights):
            print(found, flush=True)


if __name__ == "__main__":
    main()
