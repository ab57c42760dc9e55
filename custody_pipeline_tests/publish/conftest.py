from __future__ import annotations

import os
import shutil
import uuid
from functools import partial
from typing import TYPE_CHECKING

import duckdb
import pytest

from custody_pipeline.settings import Settings
from custody_pipeline_tests.made_once import made_once
from custody_pipeline_tests.publish.memory import s3_in_memory
from custody_pipeline_tests.publish.nights import OneNight, insert_receipt, write_empty_warehouse, write_recordings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client


@pytest.fixture
def bucket(s3: S3Client) -> str:
    """A fresh bucket with versions and Object Lock."""
    name = f"custody-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


@pytest.fixture
def memory_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    """moto, with a versioned bucket `custody-published`."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with s3_in_memory() as client:
        yield client


@pytest.fixture(scope="session")
def empty_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "empty.duckdb", write_empty_warehouse)


@pytest.fixture(scope="session")
def recordings(empty_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of three recordings, without a receipt."""
    return made_once(tmp_path_factory, "recordings.duckdb", partial(write_recordings, empty=empty_warehouse))


@pytest.fixture
def con(recordings: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse of three recordings, collected with one receipt."""
    shutil.copy(recordings, tmp_path / "warehouse.duckdb")
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as con:
        insert_receipt(con, tmp_path / "landing")
        yield con


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, publish_url="s3://custody-published/prod", operator="nightly")


@pytest.fixture
def night(con: duckdb.DuckDBPyConnection, settings: Settings, memory_s3: S3Client) -> OneNight:
    return OneNight(con, settings, memory_s3)
