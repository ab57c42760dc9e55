"""Stages `landing: encrypted` and `load: encrypted`: what a key for the night costs, against the same without one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import orjson

from bench import load
from bench.measure import Prepared, Stage
from bench.night import NIGHT, organization
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.landing_files import Folder, read_lines
from custody_pipeline.io.encrypted_files import encrypted_bytes
from custody_pipeline.io.night_keys import NightKeys, night_keys_of
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.api_documents import details


def _settings(home: Path, key: Path | None) -> Settings:
    return Settings(home=home, night_key_file=key)


def _key(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "night.key"
    key.write_text(secrets.token_hex(32))
    return key


@contextmanager
def _landing(size: int, folder: Path) -> Iterator[Prepared]:
    key, documents, received = _key(folder), folder / "documents", 0
    with documents.open("wb") as file:
        for conversation in organization(size).conversations():
            document = orjson.dumps(details(conversation))
            received += len(document)
            file.write(document + b"\n")

    ours, floor, same = partial(_land, documents, key), partial(_land, documents, None), partial(_same_lines, key)
    yield Prepared(ours, floor, same, rows=size, bytes=received)


def _land(documents: Path, key: Path | None, folder: Path) -> Callable[[], object]:
    lines = documents.read_bytes().splitlines()
    settings = _settings(folder, key)

    def work() -> None:
        with Collector(settings, NIGHT) as collector, collector.load(load.TABLE) as writing:
            for line in lines:
                writing.add({"page_sha256": "0" * 64, "job_id": "bench"}, "bench:", line)

    return work


def _same_lines(key: Path, ours: Path, floor: Path) -> None:
    found = [
        hashlib.sha256(b"".join(line.partition(b'"sha256"')[2] for line in read_lines(file, keys))).hexdigest()
        for home, keys in ((ours, night_keys_of(_settings(ours, key))), (floor, NightKeys()))
        for file in sorted(home.glob(f"landing/{load.TABLE}/*/*.gz"))
    ]
    half = len(found) // 2
    assert half, "nothing landed"
    assert found[:half] == found[half:], "other documents"


@contextmanager
def _loading(size: int, folder: Path) -> Iterator[Prepared]:
    plain, received = load.land_details(_settings(folder / "plain", None), organization(size))
    keys = night_keys_of(_settings(folder / "encrypted", _key(folder)))
    files = []
    for file in plain.files:
        key, copy = keys.of(NIGHT), folder / "encrypted" / file.local.name
        assert key is not None
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(encrypted_bytes(file.local.read_bytes(), key))
        files.append(replace(file, local=copy))
    _, floor, same = load.contenders(plain, folder)
    landing = replace(plain, files=files, place=Folder(str(folder / "encrypted"), keys))
    ours, _, _ = load.contenders(landing, folder)
    yield Prepared(ours, floor, same, rows=size, bytes=received)


LANDING = Stage(
    "landing: encrypted",
    "the documents of the bulk job → landing files that are encrypted with the key of the night",
    "the same landing files, in plain",
    _landing,
    goals={20_000: 1.1, 100_000: 1.1},
)

LOADING = Stage(
    "load: encrypted",
    "encrypted landing files → raw.conversation_details, as in stage load",
    "DuckDB alone: CREATE TABLE AS the same SELECT over the same files, in plain",
    _loading,
    goals={20_000: 1.6, 100_000: 1.35},
)
