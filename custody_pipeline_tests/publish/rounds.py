"""`python -m custody_pipeline_tests.publish.rounds`: four processes seal nights into one log at once, again and again.

Each process has a home of its own, and all of them wait for each other before they publish. Which nights they have,
and with which content, is chosen by the seed: different nights, one night for all, a night of an earlier round. Each
content of a night must be sealed once, whichever home is first. After each round everything that S3 ever held is
checked, older versions of objects included.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from custody_pipeline.evidence.cut.seal import CLAIM, HEAD, LOG, SEALING, Claimed
from custody_pipeline.evidence.log.checkpoint import read_checkpoint
from custody_pipeline.evidence.log.tiles import TileTree
from custody_pipeline.evidence.reader import read
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.operations.verification import public_keys
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.simulator.local_s3 import LocalS3
from custody_pipeline_tests.forked import forking
from custody_pipeline_tests.publish.homes import Home, write_keys
from custody_pipeline_tests.publish.nights import NIGHT, RECORDINGS, write_empty_warehouse, write_recordings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.simulator.local_s3 import S3Endpoint

HOMES = 4
ROUNDS_A_LOG = 20
"""A check reads the whole log; a new log begins after this number of rounds."""

Task = tuple[date, int]
"""A night, and which of its contents a home saw."""


def work(folder: Path, keys: Path, recordings: Path, endpoint: S3Endpoint, start: Barrier, orders: Connection) -> None:
    """A home's process: publish what is ordered, until the order is None."""
    home: Home | None = None
    while (order := orders.recv()) is not None:
        bucket, (night, content) = order
        if home is None or home.settings.publish_url != f"s3://{bucket}/prod":
            shutil.copytree(keys, folder / bucket / "keys")
            home = Home.at(folder / bucket, bucket)
        home.collect(recordings, night, f"content {content}")
        client = endpoint.client()
        start.wait()
        try:
            orders.send(home.publish(client, night))
        except Exception as error:  # noqa: BLE001 - the round failed, and reports the exception
            orders.send(f"{type(error).__name__}: {error}")


@dataclass
class Log:
    """One log that all homes write to, and what must be in it.

    Attributes:
        client: of the server.
        bucket: with versions, so that nothing that was overwritten is lost to the check.
        keys: of all homes.
        contents: night → the contents that homes had.
        memory: digests that earlier rounds have verified.
        pinned: the head after the last round.
    """

    client: S3Client
    bucket: str
    keys: Path
    contents: dict[date, set[int]] = field(default_factory=dict)
    memory: dict[str, str] = field(default_factory=dict)
    pinned: Sequence[bytes] = ()

    @property
    def reader(self) -> S3Reader:
        return S3Reader(self.client, S3Location(self.bucket, "prod"))

    def plan(self, chosen: random.Random) -> list[Task]:
        """A night and a content for each home."""
        fresh = [NIGHT + timedelta(days=len(self.contents) + number) for number in range(HOMES)]
        nights = chosen.choice([fresh, fresh[:1], fresh[:2], [*fresh[:2], *sorted(self.contents)]])
        tasks = [(chosen.choice(nights), chosen.randrange(3)) for _ in range(HOMES)]
        if nights == fresh:
            tasks = list(zip(fresh, (content for _, content in tasks), strict=True))
        for night, content in tasks:
            self.contents.setdefault(night, set()).add(content)
        return tasks

    def faults(self, answers: Sequence[int | str]) -> Iterator[str]:
        """The faults after a round."""
        yield from (answer for answer in answers if isinstance(answer, str))
        report = verify(self.reader, Options(self.public_keys, pinned=self.pinned, memory=self.memory))
        yield from (f"{found.code} {found.path}" for found in report.findings if found.kind.severity != Severity.NOTE)
        yield from (f"verify ends with {report.status}" for _ in range(report.status))
        self.pinned = [read(self.reader, HEAD)]
        yield from self._of_nights()
        yield from self._of_versions()
        yield from self._of_claims()

    @property
    def public_keys(self) -> list[Any]:
        return public_keys(Home.at(self.keys.parent, self.bucket).settings, [])

    def _of_nights(self) -> Iterator[str]:
        cuts = Counter(path.split("/")[1] for path in self._paths("cuts/") if path.endswith("/cut.json"))
        expected = {f"date={night}": len(contents) for night, contents in self.contents.items()}
        if cuts != expected:
            yield f"revisions {dict(cuts)}, but {expected} contents"
        size = read_checkpoint(read(self.reader, HEAD)).head.size
        if size != cuts.total() * (RECORDINGS + 1):
            yield f"{size} leaves for {cuts.total()} cuts"

    def _of_versions(self) -> Iterator[str]:
        """No object of a cut was ever overwritten or removed, and every published head is one of this log."""
        heads, versions = [], Counter[str]()
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix="prod/")
        for page in pages:
            for found in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                path = found["Key"].removeprefix("prod/")
                if path.startswith("cuts/"):
                    versions[path] += 1
                elif path == HEAD:
                    answer = self.client.get_object(Bucket=self.bucket, Key=found["Key"], VersionId=found["VersionId"])
                    heads.append(read_checkpoint(answer["Body"].read()).head)
        yield from (f"{path} was written {number} times" for path, number in versions.items() if number > 1)
        tree = TileTree(self.reader, max(head.size for head in heads), LOG)
        yield from (f"a head of {head.size} leaves is no head of this log" for head in heads if not _is_of(tree, head))

    def _of_claims(self) -> Iterator[str]:
        yield from (f"{path} was left behind" for path in self._paths(SEALING) if path != CLAIM)
        if msgspec.json.decode(read(self.reader, CLAIM), type=Claimed).pending is not None:
            yield "a claim is pending"

    def _paths(self, prefix: str) -> list[str]:
        return [entry.path for entry in self.reader.list(prefix)]


def _is_of(tree: TileTree, head: Any) -> bool:
    return bool(tree.root(head.size) == head.root)


@contextmanager
def homes(folder: Path, recordings: Path, endpoint: S3Endpoint) -> Iterator[tuple[Path, list[Connection]]]:
    """The keys, and a connection to each home's process."""
    keys = write_keys(folder / "keys")
    context = forking()
    start = context.Barrier(HOMES)
    with ExitStack() as ended:
        connections = []
        for number in range(HOMES):
            ours, theirs = context.Pipe()
            place = folder / f"home-{number}"
            process = context.Process(target=work, args=(place, keys, recordings, endpoint, start, theirs))
            process.start()
            theirs.close()
            ended.callback(process.join)
            ended.callback(ours.send, None)
            connections.append(ours)
        yield keys, connections


def run(
    rounds: int, seed: int, folder: Path, recordings: Path, endpoint: S3Endpoint
) -> Iterator[tuple[list[Task], list[str]]]:
    """For each round: the tasks of the homes, and the faults afterwards.

    Args:
        rounds: how many.
        seed: which nights and contents the homes have.
        folder: an empty one, for the homes.
        recordings: the warehouse that each home begins with.
        endpoint: the server of all homes.
    """
    chosen, client = random.Random(seed), endpoint.client()
    with homes(folder, recordings, endpoint) as (keys, connections):
        for number in range(rounds):
            if number % ROUNDS_A_LOG == 0:
                log = Log(client, f"rounds-{seed}-{number}", keys)
                client.create_bucket(Bucket=log.bucket, ObjectLockEnabledForBucket=True)
            tasks = log.plan(chosen)
            for connection, task in zip(connections, tasks, strict=True):
                connection.send((log.bucket, task))
            answers = [connection.recv() for connection in connections]
            yield tasks, list(log.faults(answers))


def main() -> int:
    """Run the rounds; 1 if anything was wrong in one of them."""
    parser = argparse.ArgumentParser(prog="python -m custody_pipeline_tests.publish.rounds", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="which nights and contents the homes have")
    arguments = parser.parse_args()
    begun, wrong, nights, seals = time.monotonic(), 0, 0, 0
    with tempfile.TemporaryDirectory() as name, LocalS3(folder := Path(name)) as endpoint:
        write_empty_warehouse(folder / "empty.duckdb")
        write_recordings(recordings := folder / "recordings.duckdb", folder / "empty.duckdb")
        ran = run(arguments.rounds, arguments.seed, folder, recordings, endpoint)
        for number, (tasks, faults) in enumerate(ran, 1):
            wrong, nights, seals = wrong + bool(faults), nights + len({n for n, _ in tasks}), seals + len(set(tasks))
            what = ", ".join(f"{night:%d.%m.} content {content}" for night, content in tasks)
            print(f"round {number}: {what}: {'; '.join(faults) or 'VERIFIED'}", flush=True)
    seconds = time.monotonic() - begun
    print(f"{arguments.rounds} rounds of {HOMES} homes in {seconds:.0f} s: {nights} nights, {wrong} rounds failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
