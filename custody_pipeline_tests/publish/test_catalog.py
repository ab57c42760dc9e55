"""Tables for engines that want a catalogue: what the DDL says, and Iceberg tables over sealed files."""

from __future__ import annotations

import io
import json
from ast import literal_eval
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.utils.config import Config

from custody_pipeline.evidence.reader import POINTER_BYTES
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.publish import engine_catalog
from custody_pipeline.publish.current_copies import PointerError
from custody_pipeline.publish.engine_catalog import CatalogError, athena_ddl, register_iceberg
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.content_hash import LIVE_TABLES, PUBLISHED_TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from custody_pipeline.simulator.local_s3 import S3Endpoint

MONDAY, TUESDAY = date(2026, 11, 2), date(2026, 11, 3)


def test_the_ddl_declares_every_column_and_projects_the_nights() -> None:
    settings = Settings(publish_url="s3://acme-custody/prod")
    mapping = load_mapping(settings.mapping_path)
    ddl = athena_ddl(settings, mapping, database="legal-holds", first=MONDAY)
    assert ddl.startswith("CREATE DATABASE IF NOT EXISTS `legal-holds`;")
    tables = ddl.split("CREATE EXTERNAL TABLE IF NOT EXISTS ")[1:]
    assert [table.partition(" ")[0] for table in tables] == [
        f"`legal-holds`.`{name}`" for name in (*PUBLISHED_TABLES, *LIVE_TABLES)
    ]
    chain = tables[0]
    assert "`user_ids`" in chain
    assert all(f"`{tag.output_column}`" in chain for tag in mapping.columns)
    assert "'projection.date.range' = '2026-11-02,NOW'" in chain
    assert "'storage.location.template' = 's3://acme-custody/prod/parquet/chain_of_custody/date=${date}/'" in chain
    nights, agents = tables[-2:]
    assert "LOCATION 's3://acme-custody/prod/live/parquet/nights/';" in nights
    assert "PARTITIONED BY" not in nights
    assert "'s3://acme-custody/prod/live/parquet/agents/date=${date}/'" in agents
    # Each column is named once. Python's strings have the escapes of Hive's: no comment breaks a quote.
    body = chain.partition("(\n")[2].partition("\n)\nCOMMENT")[0]
    columns = [line.split("`")[1] for line in body.splitlines()]
    assert len(columns) == len(set(columns))
    told = [literal_eval(line.partition(" COMMENT ")[2].rstrip(",")) for line in body.splitlines()]
    assert "UTC day of the conversation's start" in told


def test_no_comment_of_a_column_is_more_than_glue_takes() -> None:
    # https://docs.aws.amazon.com/glue/latest/webapi/API_Column.html: 255, and only these characters.
    settings = Settings(publish_url="s3://acme-custody/prod")
    shipped = load_mapping(settings.mapping_path)
    mapping = replace(shipped, columns=(replace(shipped.columns[0], attribute="two\nlines", aliases=("é" * 200,)),))
    ddl = athena_ddl(settings, mapping, database="custody", first=MONDAY)
    columns = [line for line in ddl.splitlines() if line.startswith("  `")]
    told = [literal_eval(line.partition(" COMMENT ")[2].rstrip(",")) for line in columns]
    assert len(told) > 100
    assert max(len(text.encode()) for text in told) <= 255
    assert not [text for text in told if not text.isprintable()]
    assert sum(text.endswith("…") for text in told) == 4


def test_no_name_and_no_text_of_the_ddl_ends_its_quotes() -> None:
    settings = Settings(publish_url="s3://acme-custody/o'neil\\x")
    ddl = athena_ddl(settings, load_mapping(settings.mapping_path), database="a` (x int); DROP `b", first=MONDAY)
    assert ddl.startswith("CREATE DATABASE IF NOT EXISTS `a`` (x int); DROP ``b`;")
    assert ddl.count("`a`` (x int); DROP ``b`.`") == len((*PUBLISHED_TABLES, *LIVE_TABLES))
    location = ddl.partition("LOCATION ")[2].partition("\n")[0]
    assert literal_eval(location) == "s3://acme-custody/o'neil\\x/parquet/chain_of_custody/"


def publish(client: Any, bucket: str, night: date, revision: int, columns: dict[str, list[Any]]) -> None:
    """A sealed Parquet file and the pointer to its revision."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"partition_date": [night] * len(columns["reason"]), **columns}), buffer)
    key = f"cuts/date={night}/r{revision:04d}/data/gaps.parquet"
    client.put_object(Bucket=bucket, Key=key, Body=buffer.getvalue())
    files = [{"table_name": "gaps", "format": "parquet"}]
    pointer = json.dumps({"night": str(night), "revision": revision, "files": files}).encode()
    client.put_object(Bucket=bucket, Key=f"current/date={night}.json", Body=pointer)


@pytest.mark.server
def test_iceberg_reads_the_newest_revision_of_each_night_and_an_older_snapshot_what_it_named(
    server: S3Endpoint, s3: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    settings = Settings(
        home=tmp_path, publish_url=f"s3://{bucket}", s3_endpoint_url=server.url, s3_region=server.region
    )
    with pytest.raises(CatalogError, match="set PYICEBERG_CATALOG__EVIDENCE__URI"):
        register_iceberg(settings, "evidence", "custody")
    monkeypatch.setenv("PYICEBERG_CATALOG__EVIDENCE__URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__EVIDENCE__WAREHOUSE", f"file://{tmp_path}/iceberg")
    # pyiceberg reads its configuration once a process.
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
    publish(s3, bucket, MONDAY, 1, {"reason": ["TAG_MISSING", "OBJECT_MISSING"]})
    assert register_iceberg(settings, "evidence", "custody") == {"gaps": [str(MONDAY)]}
    assert register_iceberg(settings, "evidence", "custody") == {"gaps": []}
    # The next night has a column more, and the first one another revision.
    publish(s3, bucket, TUESDAY, 1, {"reason": ["TAG_MISSING"], "custom_data_new": ["007"]})
    publish(s3, bucket, MONDAY, 2, {"reason": ["TAG_MISSING"]})
    before = s3.list_objects_v2(Bucket=bucket)["KeyCount"]
    assert register_iceberg(settings, "evidence", "custody") == {"gaps": [str(MONDAY), str(TUESDAY)]}
    access = {"s3.endpoint": server.url, "s3.access-key-id": server.access_key, "s3.region": server.region}
    catalog = load_catalog("evidence", **access, **{"s3.secret-access-key": server.secret_key})
    with catalog:
        table = catalog.load_table("custody.gaps")
        rows = table.scan().to_arrow().sort_by("partition_date").to_pylist()
        assert rows == [
            {"partition_date": MONDAY, "reason": "TAG_MISSING", "custom_data_new": None},
            {"partition_date": TUESDAY, "reason": "TAG_MISSING", "custom_data_new": "007"},
        ]
        first = table.history()[0].snapshot_id
        reasons = table.scan(snapshot_id=first).to_arrow()["reason"].to_pylist()
        assert sorted(reasons) == ["OBJECT_MISSING", "TAG_MISSING"]
        # No file was copied, and none is gone.
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == before
        assert table.properties["gc.enabled"] == "false"


@pytest.mark.parametrize(
    "pointer",
    [
        {"night": "2026-11-02' OR true OR partition_date == '", "revision": 1, "files": []},
        {"night": "2026-11-03", "revision": 1, "files": []},
        {"night": "2026-11-02", "revision": 0, "files": []},
        {"night": "2026-11-02", "revision": "1/../../../evil", "files": []},
        {"night": "2026-11-02", "revision": 1, "files": "x" * POINTER_BYTES},
        [],
    ],
    ids=["an expression", "another night", "no revision", "a path", "no end", "no pointer"],
)
def test_a_pointer_that_somebody_else_wrote_into_the_bucket_names_no_file(
    memory_s3: Any, monkeypatch: pytest.MonkeyPatch, pointer: Any
) -> None:
    """Nobody signs it, and what it says becomes a path, and an expression that removes rows."""
    monkeypatch.setattr(engine_catalog, "s3_client", lambda _: memory_s3)
    memory_s3.put_object(Bucket="custody-published", Key="prod/current/date=2026-11-02.json", Body=json.dumps(pointer))
    place = S3Location("custody-published", "prod")

    with pytest.raises(PointerError, match="is no pointer to a night"):
        list(engine_catalog._pointers(Settings(), place))
