"""A night larger than memory, once: landing files → `raw` → models → checks → published, and the analysts' snapshot.

    python -m bench.large [--size 100000] [--memory-limit 2GB] [--csv-compression gzip] [--json FILE]

A small night is collected from the simulated organisation; its landing files are then written out many times over, each
time with other ids, until the night has as many conversations as asked for. What follows runs in a process of its own,
against a local S3 server, and is profiled as `custody run --profile` does: the memory shown is that process's own,
DuckDB's share of it limited by `--memory-limit` (CUSTODY_DUCKDB_MEMORY_LIMIT), beyond which DuckDB spills to disk.

It is no stage of `python -m bench`: it has no floor, and takes minutes and tens of gigabytes.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson
from rich import filesize

from bench.night import NIGHT, loaded_night
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.landing_files import content_of, read_lines, split_line
from custody_pipeline.extract.receipts import Landing
from custody_pipeline.load.pipeline import load
from custody_pipeline.load.raw_tables import BOOKKEEPING
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.run import materialize, prepare
from custody_pipeline.night import Night, check
from custody_pipeline.operations.profiling import Part, Profile, Sampler
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.local_s3 import LocalS3
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.snapshot import snapshot_for_analysts
from custody_pipeline.warehouse.sql_files import load_models

SEED_CONVERSATIONS = 2_000
BUCKET = "bench-dataset"
# Of the seed's landing files, these have a line per conversation or recording; the others are a night's few.
REPEATED = ("conversation_details", "export_objects", "export_sidecars", "media_digests")

_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Template:
    """Bytes with ids in them; `renamed(n)` is the same with other ids, those shared by conversations excepted."""

    def __init__(self, text: bytes, shared: set[bytes]) -> None:
        self._parts: list[bytes] = []
        self._ids: list[int] = []
        end = 0
        for match in _ID.finditer(text):
            if match.group() not in shared:
                self._parts.append(text[end : match.start()])
                self._ids.append(int(match.group()[:8], 16))
                end = match.start() + 8
        self._rest = text[end:]

    def renamed(self, number: int) -> bytes:
        """Another text for each number below 2**32; 0 is the original."""
        # An odd factor: no two numbers give the same mask.
        mask = number * 0x9E3779B1 & 0xFFFFFFFF
        pairs = zip(self._parts, self._ids, strict=True)
        return b"".join([b"%b%08x" % (part, name ^ mask) for part, name in pairs]) + self._rest


def land(settings: Settings, seed: Settings, size: int) -> list[Landing]:
    """Write the landing files of a night of `size` conversations in `settings.home`."""
    folder = Path(seed.landing)
    shared = _shared_ids(folder)
    landings = []
    with Collector(settings.model_copy(update={"genesys_domain": None}), NIGHT) as collector:
        for place in sorted(folder.iterdir()):
            if place.name in BOOKKEEPING:
                continue
            lines = [line for file in sorted(place.rglob("*.ndjson.gz")) for line in read_lines(file)]
            repeats = size // SEED_CONVERSATIONS if place.name in REPEATED else 1
            with collector.load(place.name) as landed:
                for keys, uri, at, content in _repeated(lines, shared, repeats):
                    landed.add(keys, uri, content, at)
            landings.append(landed.landing)
    return landings


def _repeated(
    lines: list[bytes], shared: set[bytes], repeats: int
) -> Iterator[tuple[dict[str, object], str, datetime, bytes]]:
    templates = []
    for line in lines:
        envelope = orjson.loads(split_line(line)[0] + b"}")
        head = Template(orjson.dumps([envelope["k"], envelope["source_uri"]]), shared)
        templates.append((head, datetime.fromisoformat(envelope["fetched_at"]), Template(content_of(line), shared)))
    for number in range(repeats):
        for head, at, content in templates:
            keys, uri = orjson.loads(head.renamed(number))
            yield keys, uri, at, content.renamed(number)


def _shared_ids(folder: Path) -> set[bytes]:
    """Ids that several conversations name: users, queues, flows, scripts, the organisation."""
    named: collections.Counter[bytes] = collections.Counter()
    for file in (folder / "conversation_details").rglob("*.ndjson.gz"):
        for line in read_lines(file):
            named.update(set(_ID.findall(content_of(line))))
    return {name for name, times in named.items() if times > 1}


@dataclass(frozen=True)
class Measured:
    """What a night took. Bytes; `spilled` is the most that DuckDB held on disk for want of memory."""

    conversations: int
    recordings: int
    landed: int
    documents: int
    warehouse: int
    published: int
    spilled: int
    peak_memory: int
    profile: dict[str, Any]


def run_night(settings: Settings, landings: list[Landing], answer: Connection) -> None:
    """Everything behind the collection, profiled; sends the profile and what it holds to `answer`."""
    stages: list[tuple[str, float, float, int | None, int | None, tuple[Part, ...]]] = []
    models, mapping = load_models(), load_mapping(settings.mapping_path)

    def timed(name: str, work: Callable[[], tuple[int | None, int | None, tuple[Part, ...]]]) -> None:
        begun = time.time()
        rows, size, parts = work()
        stages.append((name, begun, time.time(), rows, size, parts))
        print(f"{name}: {time.time() - begun:.1f} s", file=sys.stderr)

    def loaded() -> tuple[int, int, tuple[Part, ...]]:
        rows = load(con, landings).rows
        return sum(rows.values()), sum(file.size for landing in landings for file in landing.files), ()

    def modelled(schema: str) -> tuple[int, None, tuple[Part, ...]]:
        rows, parts = 0, []
        begun = time.time()
        wanted = [model for model in models.values() if model.schema == schema]
        for model, made in materialize(con, wanted, NIGHT, mapping, settings):
            rows += made
            parts.append(sampled.part(model.key, begun, time.time()))
            begun = time.time()
        return rows, None, tuple(parts)

    def checked() -> tuple[int, None, tuple[Part, ...]]:
        offending = check(con, Night(settings, mapping, NIGHT))
        assert not any(offending.values()), offending
        return len(offending), None, ()

    def published() -> tuple[int, int, tuple[Part, ...]]:
        before = {phase.name for phase in sampled.phases()}
        files = publish_night(con, settings, NIGHT).files
        parts = tuple(phase for phase in sampled.phases() if phase.name not in before)
        return sum(file.rows for file in files), sum(file.bytes for file in files), parts

    def snapshot() -> tuple[None, int, tuple[Part, ...]]:
        return None, snapshot_for_analysts(con, settings).stat().st_size, ()

    with Sampler() as sampled, _Spilled(settings.home / "spill") as spilled, Warehouse(settings).open() as con:
        timed("load", loaded)
        prepare(con)
        timed("model_staging", lambda: modelled("staging"))
        timed("model_custody", lambda: modelled("custody"))
        timed("checks", checked)
        timed("publish", published)
        timed("snapshot", snapshot)
        recordings = con.execute("SELECT count(*) FROM custody.chain_of_custody").fetchone()
        conversations = con.execute("SELECT count(*) FROM raw.conversation_details").fetchone()
        documents = con.execute("SELECT sum(document_bytes) FROM raw.conversation_details").fetchone()
    assert recordings
    assert conversations
    assert documents
    profile = _profile(sampled, stages)
    print(profile.table())
    measured = Measured(
        conversations=conversations[0],
        recordings=recordings[0],
        landed=sum(file.size for landing in landings for file in landing.files),
        documents=int(documents[0]),
        warehouse=settings.warehouse_path.stat().st_size,
        published=sum(stage.bytes or 0 for stage in profile.stages if stage.name == "publish"),
        spilled=spilled.most,
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        profile=profile.to_dict(),
    )
    answer.send(measured)


def _profile(
    sampled: Sampler, stages: list[tuple[str, float, float, int | None, int | None, tuple[Part, ...]]]
) -> Profile:
    whole = sampled.stage("the night", sampled.started, sampled.ended)
    return Profile(
        night=NIGHT,
        run_id="bench.large",
        began=f"{datetime.fromtimestamp(sampled.started):%Y-%m-%dT%H:%M:%SZ}",
        seconds=whole.seconds,
        cpu_seconds=whole.cpu_seconds,
        peak_memory=whole.peak_memory,
        stages=tuple(
            sampled.stage(name, begun, ended, rows=rows, bytes=size, parts=parts)
            for name, begun, ended, rows, size, parts in stages
        ),
        memory=tuple((at - sampled.started, size) for at, size in sampled.memory()),
    )


class _Spilled:
    """The most bytes that lay in DuckDB's temporary folder while the block ran, looked at four times a second."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stop, self.most = folder, threading.Event(), 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Spilled:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.25):
            try:
                size = sum(file.stat().st_size for file in self._folder.glob("*"))
            except FileNotFoundError:
                continue
            self.most = max(self.most, size)


def measure(size: int, folder: Path, memory_limit: str, csv_compression: str) -> Measured:
    """Land a night of `size` conversations below `folder`, then run it in a process of its own."""
    seed = loaded_night(SEED_CONVERSATIONS).settings
    home = folder / "home"
    begun = time.monotonic()
    with LocalS3(folder) as endpoint:
        os.environ |= {"AWS_ACCESS_KEY_ID": endpoint.access_key, "AWS_SECRET_ACCESS_KEY": endpoint.secret_key}
        endpoint.client().create_bucket(Bucket=BUCKET)
        settings = Settings.model_validate(
            {
                **seed.model_dump(),
                "home": home,
                "landing_url": None,
                "publish_url": f"s3://{BUCKET}/night",
                "s3_endpoint_url": endpoint.url,
                "s3_region": endpoint.region,
                "duckdb_memory_limit": memory_limit,
                "csv_compression": csv_compression,
            }
        )
        landings = land(settings, seed, size)
        print(f"landed: {time.monotonic() - begun:.1f} s", file=sys.stderr)
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=run_night, args=(settings, landings, sender))
        process.start()
        sender.close()
        try:
            measured: Measured = receiver.recv()
        except EOFError:
            raise RuntimeError(f"the night's process failed with status {process.exitcode}") from None
        finally:
            process.join()
    return measured


def main() -> None:
    """Measure one night and print what it took."""
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=100_000, help="conversations, a multiple of 2,000")
    parser.add_argument("--memory-limit", default="2GB", help="DuckDB's")
    parser.add_argument("--csv-compression", choices=["none", "gzip"], default="gzip", help="of what is published")
    parser.add_argument("--folder", type=Path, help="where the work is done, a temporary folder by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the numbers go as JSON")
    arguments = parser.parse_args()
    tempfile.tempdir = arguments.folder and str(arguments.folder.absolute())
    with tempfile.TemporaryDirectory(prefix="custody-large-") as folder:
        measured = measure(arguments.size, Path(folder), arguments.memory_limit, arguments.csv_compression)
    print()
    for name, value in asdict(measured).items():
        if isinstance(value, int):
            print(f"{name.replace('_', ' '):<16}{value:>16,}", "" if value < 10_000_000 else filesize.decimal(value))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(measured), indent=1) + "\n")


if __name__ == "__main__":
    main()
