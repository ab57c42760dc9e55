"""Stages `produce` and `produce: verify`: a production of a matter's recordings, and checking it.

The audio is random, 100 KB a recording, in the same S3 server for both; the night that seals it is modelled, and its
rows are then given these objects. `size` is the number of recordings that are produced, in volumes of the default size;
`produce: verify` checks one volume of all. The floor of `produce` copies the same objects to disk and hashes them on
the way, with as many requests in flight; the floor of `produce: verify` is `sha256sum` of the volume's files, its peer
the same digests by Python's hashlib.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.measure import Prepared, Stage
from bench.night import NIGHT, copy_of, modelled_night
from bench.publish import PUBLISHED, in_bucket
from custody_pipeline.io.s3 import s3_client
from custody_pipeline.matters.matter_file import load_matter
from custody_pipeline.matters.register import Register
from custody_pipeline.matters.standing import standing
from custody_pipeline.matters.volume_writer import produce
from custody_pipeline.operations.packaging import FETCHES_IN_FLIGHT
from custody_pipeline.operations.verification import BucketMedia, public_keys, verify_target
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.local_s3 import LocalS3, S3Endpoint
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.ledger import Actor
from custody_pipeline.warehouse.snapshot import snapshot_for_analysts

AUDIO = "bench-audio"
AUDIO_BYTES = 100_000
CONVERSATIONS_A_RECORDING = 0.7  # of the simulated organisation, and a little more


@contextmanager
def _published(size: int, folder: Path) -> Iterator[tuple[S3Endpoint, Settings]]:
    """A sealed night, `size` recordings of which have audio in the bucket."""
    with LocalS3(folder / "s3") as server:
        _use(server)
        home = folder / "home"
        home.mkdir()
        place = {"publish_url": f"s3://{PUBLISHED}", "export_url": f"s3://{AUDIO}"}
        settings = in_bucket(copy_of(modelled_night(int(size * CONVERSATIONS_A_RECORDING)), home), server, **place)
        client = s3_client(settings)
        for bucket in (AUDIO, PUBLISHED):
            client.create_bucket(Bucket=bucket)
        with Warehouse(settings).open() as con:
            found = con.execute(
                "SELECT recording_id FROM custody.chain_of_custody ORDER BY recording_id LIMIT ?", [size]
            )
            ids = [row[0] for row in found.fetchall()]
            assert len(ids) == size
            with ThreadPoolExecutor(16) as pool:
                digests = list(pool.map(partial(_put, client), ids))
            con.execute("CREATE TEMP TABLE audio (recording_id VARCHAR, sha256 VARCHAR)")
            con.executemany("INSERT INTO audio VALUES (?, ?)", list(zip(ids, digests, strict=True)))
            con.execute(
                f"""
                UPDATE custody.chain_of_custody AS c SET media_sha256 = a.sha256, object_version_id = NULL,
                    object_uri = 's3://{AUDIO}/' || c.recording_id || '.opus', object_bytes = {AUDIO_BYTES},
                    sidecar_uri = NULL, sidecar_sha256 = NULL
                FROM audio AS a
                WHERE a.recording_id = c.recording_id
                """
            )
            publish_night(con, settings, NIGHT)
            snapshot_for_analysts(con, settings, NIGHT)
        yield server, settings


def _use(server: S3Endpoint) -> None:
    """Each measured process does this itself: it is forked from one that was started before the server."""
    os.environ |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}


def _put(client: object, recording_id: str) -> str:
    data = random.Random(recording_id).randbytes(AUDIO_BYTES)  # noqa: S311 - bytes of a benchmark
    client.put_object(Bucket=AUDIO, Key=f"{recording_id}.opus", Body=data)  # type: ignore[attr-defined]
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _producing(size: int, folder: Path) -> Iterator[Prepared]:
    with _published(size, folder) as (server, settings):
        keys = [item["Key"] for page in s3_client(settings).get_paginator("list_objects_v2").paginate(Bucket=AUDIO)
                for item in page["Contents"]]  # fmt: skip
        yield Prepared(
            partial(_ours, server, settings),
            partial(_copied, server, settings, keys),
            _same,
            rows=len(keys),
            bytes=len(keys) * AUDIO_BYTES,
            peers={"same client": partial(_copied_as_we_do, server, settings, keys)},
        )


def _ours(server: S3Endpoint, settings: Settings, folder: Path) -> Callable[[], object]:
    _use(server)
    return lambda: _produce(settings, folder)


def _produce(settings: Settings, folder: Path, form: str = "{}") -> Path:
    """The folder of the volumes; `form`: of the production, as in the matter file."""
    path = folder / "matter.yaml"
    path.write_text(
        f"version: 1\ntitle: Bench\nselect:\n  where: object_uri LIKE 's3://{AUDIO}/%'\nproduction: {form}\n"
    )
    matter, register = load_matter(path), Register(folder / "matter")
    found = standing(settings, matter, register)
    to, target = folder / "productions", str(settings.publish_url)
    produce(settings, target, matter, register, found, to, Actor.of(settings))
    return to


def _copied(server: S3Endpoint, settings: Settings, keys: list[str], folder: Path) -> Callable[[], object]:
    _use(server)

    def work() -> None:
        client = s3_client(settings)

        def copy(key: str) -> None:
            sha256 = hashlib.sha256()
            with (folder / key).open("wb") as out:
                for chunk in client.get_object(Bucket=AUDIO, Key=key)["Body"].iter_chunks(1 << 20):
                    sha256.update(chunk)
                    out.write(chunk)
            sha256.hexdigest()

        with ThreadPoolExecutor(FETCHES_IN_FLIGHT) as pool:
            list(pool.map(copy, keys))

    return work


def _copied_as_we_do(server: S3Endpoint, settings: Settings, keys: list[str], folder: Path) -> Callable[[], object]:
    """The floor with the client that `produce` has: obstore takes a fifth of what boto3 takes."""
    _use(server)

    def work() -> None:
        media = BucketMedia(settings)
        with ThreadPoolExecutor(FETCHES_IN_FLIGHT) as pool:
            list(pool.map(lambda key: media.save(f"s3://{AUDIO}/{key}", None, folder / key), keys))

    return work


def _same(ours: Path, floor: Path) -> None:
    def audio(files: Iterator[Path]) -> list[str]:
        return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)

    made = (ours / "productions").glob("*/evidence/data/audio/*")
    assert audio(made) == audio(floor.glob("*.opus"))


@contextmanager
def _checking(size: int, folder: Path) -> Iterator[Prepared]:
    with _published(size, folder) as (_, settings):
        volume = _produce(settings, folder, f"{{volume_recordings: {size}}}") / "VOL001"
        files = sorted(path for path in volume.rglob("*") if path.is_file())
        key = folder / "key.pub"
        key.write_text(public_keys(settings, [])[0].vkey + "\n")
        yield Prepared(
            partial(_verified, settings, volume, key),
            partial(_sha256sum, files),
            lambda *_: None,
            rows=len(files),
            bytes=sum(path.stat().st_size for path in files),
            peers={"hashlib": partial(_hashed, files)},
        )


def _verified(settings: Settings, volume: Path, key: Path, _: Path) -> Callable[[], object]:
    def work() -> None:
        report = verify_target(settings, str(volume), keys=[key])
        assert report.status == 0, report.summary()

    return work


def _sha256sum(files: Sequence[Path], _: Path) -> Callable[[], object]:
    # As many names as a command line takes.
    parts = [files[start : start + 2_000] for start in range(0, len(files), 2_000)]
    return lambda: [subprocess.run(["sha256sum", *part], check=True, stdout=subprocess.DEVNULL) for part in parts]


def _hashed(files: Sequence[Path], _: Path) -> Callable[[], object]:
    def work() -> None:
        for path in files:
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256").hexdigest()

    return work


STAGES = (
    Stage(
        "produce",
        "custody matter produce: audio, records with proofs, tables, pages, signatures, custody events",
        "GET of the same audio from the same server to disk with boto3, hashed on the way",
        _producing,
        sizes=(2_000, 10_000),
        goals={10_000: 1.5},
    ),
    Stage(
        "produce: verify",
        "custody verify of that volume",
        "sha256sum of its files",
        _checking,
        sizes=(2_000,),
        goals={2_000: 1.3},
    ),
)
