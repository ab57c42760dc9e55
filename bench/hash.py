"""Stages `hash` and `hash: wire`: digests of a night's media over S3.

The first is compared with hashing the same bytes from files on this machine, the second with what bounds it where the
server runs on the same machine: the rate at which that hands the objects over to a client that looks at none of them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import obstore
import orjson

from bench.measure import Prepared, Stage
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.media import HASHES_IN_FLIGHT, MediaObject, ObjectVersion, collect_media
from custody_pipeline.io.s3 import s3_client, s3_store
from custody_pipeline.operations.verification import BucketMedia
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.local_s3 import LocalS3, S3Endpoint

NIGHT = date(2026, 11, 2)
BUCKET = "bench-media"
_SMALLEST, _LARGEST = 20_000, 400_000  # bytes: Opus of 10 seconds to 4 minutes
_DIGESTS = "digests.json"

Digest = tuple[str, str]


@contextmanager
def _served(size: int, folder: Path) -> Iterator[tuple[S3Endpoint, list[MediaObject], Path]]:
    """Objects in a bucket, and the same bytes as files."""
    files = folder / "files"
    files.mkdir(parents=True)
    chance = random.Random(size)  # noqa: S311 - sizes, no secrets
    lengths = {f"{number:06d}.opus": chance.randrange(_SMALLEST, _LARGEST) for number in range(size)}
    with LocalS3(folder / "home") as server:
        client = server.client()
        client.create_bucket(Bucket=BUCKET)

        def put(name: str) -> MediaObject:
            data = os.urandom(lengths[name])
            (files / name).write_bytes(data)
            client.put_object(Bucket=BUCKET, Key=name, Body=data)
            found = client.head_object(Bucket=BUCKET, Key=name)
            written = found["LastModified"].replace(tzinfo=None)
            return MediaObject(ObjectVersion(BUCKET, name, None, found["ETag"], written, len(data)))

        with ThreadPoolExecutor(8) as pool:
            objects = list(pool.map(put, lengths))
        yield server, objects, files


@contextmanager
def _prepared(size: int, folder: Path) -> Iterator[Prepared]:
    with _served(size, folder) as (server, objects, files):
        ours, floor = partial(_ours, server, objects), partial(_floor, files)
        yield Prepared(ours, floor, _same, rows=size, bytes=_bytes(objects))


@contextmanager
def _prepared_wire(size: int, folder: Path) -> Iterator[Prepared]:
    with _served(size, folder) as (server, objects, _):
        yield Prepared(
            partial(_ours, server, objects),
            partial(_delivery, server, objects),
            _all_there,
            rows=size,
            bytes=_bytes(objects),
            peers={
                "verify": partial(_compared, server, objects),
                "boto3": partial(_boto3, server, objects),
            },
        )


def _bytes(objects: list[MediaObject]) -> int:
    return sum(media.version.object_bytes or 0 for media in objects)


def _settings(server: S3Endpoint, folder: Path) -> Settings:
    os.environ |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    return Settings(home=folder, export_url=f"s3://{BUCKET}", s3_endpoint_url=server.url, s3_region=server.region)


def _ours(server: S3Endpoint, objects: list[MediaObject], folder: Path) -> Callable[[], object]:
    settings = _settings(server, folder)

    def work() -> None:
        with Collector(settings, NIGHT) as collector:
            (landing,) = collect_media(collector, {}, objects)
        assert landing.state == "complete", landing.failures[:3]

    return work


def _keep(folder: Path, digests: dict[str, Digest]) -> None:
    (folder / _DIGESTS).write_bytes(orjson.dumps(digests, option=orjson.OPT_SORT_KEYS))


def _digest(data: bytes) -> Digest:
    return hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest()


def _floor(files: Path, folder: Path) -> Callable[[], object]:
    def work() -> None:
        paths = sorted(files.iterdir())
        with ThreadPoolExecutor(HASHES_IN_FLIGHT) as pool:
            digests = pool.map(lambda path: _digest(path.read_bytes()), paths)
            _keep(folder, dict(zip([path.name for path in paths], digests, strict=True)))

    return work


def _delivery(server: S3Endpoint, objects: list[MediaObject], folder: Path) -> Callable[[], object]:
    store = s3_store(_settings(server, folder), BUCKET)

    def work() -> None:
        with ThreadPoolExecutor(HASHES_IN_FLIGHT) as pool:
            sizes = pool.map(lambda media: len(obstore.get(store, media.version.object_key).bytes()), objects)
            (folder / "bytes").write_text(str(sum(sizes)))

    return work


def _compared(server: S3Endpoint, objects: list[MediaObject], folder: Path) -> Callable[[], object]:
    """What `custody verify --media all` does with each object: SHA-256 alone, nothing landed."""
    media = BucketMedia(_settings(server, folder))
    uris = [f"s3://{BUCKET}/{item.version.object_key}" for item in objects]

    def work() -> None:
        with ThreadPoolExecutor(HASHES_IN_FLIGHT) as pool:
            list(pool.map(lambda uri: media.sha256(uri, None), uris))

    return work


def _boto3(server: S3Endpoint, objects: list[MediaObject], folder: Path) -> Callable[[], object]:
    client = s3_client(_settings(server, folder))

    def read(media: MediaObject) -> Digest:
        return _digest(client.get_object(Bucket=BUCKET, Key=media.version.object_key)["Body"].read())

    def work() -> None:
        with ThreadPoolExecutor(HASHES_IN_FLIGHT) as pool:
            list(pool.map(read, objects))

    return work


def _landed(folder: Path) -> list[dict[str, Any]]:
    paths = (folder / "landing" / "media_digests").rglob("*.gz")
    return [orjson.loads(line)["document"] for path in paths for line in gzip.decompress(path.read_bytes()).split()]


def _same(ours: Path, floor: Path) -> None:
    found = {row["object_key"]: [row["sha256"], row["md5"]] for row in _landed(ours)}
    assert found == orjson.loads((floor / _DIGESTS).read_bytes()), "the digests differ"


def _all_there(ours: Path, floor: Path) -> None:
    hashed = sum(row["object_bytes"] for row in _landed(ours) if row["sha256"])
    assert hashed == int((floor / "bytes").read_text()), "other bytes were hashed than delivered"


_OURS = "SHA-256 and MD5 of every media object, streamed over S3 and landed with its receipt"

STAGE = Stage(
    "hash",
    _OURS,
    "SHA-256 and MD5 of the same bytes read from files on this machine, by as many threads",
    _prepared,
    sizes=(1_000,),
    goals={1_000: 1.5},
)

WIRE = Stage(
    "hash: wire",
    _OURS,
    "the same objects fetched by as many threads and not looked at: the server's own rate of delivery",
    _prepared_wire,
    sizes=(1_000,),
    goals={1_000: 1.5},
)
