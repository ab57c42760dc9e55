"""The published tables for engines that want a catalogue: DDL for Athena and Glue, and Iceberg tables without a copy.

Belongs here: names and types of tables, and which files they are made of. Does not: writing Parquet (tables.py).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

from custody_pipeline.evidence.cut.manifest import cut_prefix
from custody_pipeline.io.s3 import S3Location, new_session, s3_client
from custody_pipeline.models.mapping import TagMapping
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.current_copies import current_key, read_pointer
from custody_pipeline.publish.live import live_key
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.warehouse.content_hash import LIVE_TABLES, PUBLISHED_TABLES
from custody_pipeline.warehouse.sql_files import SQL_DIR, read_model

# https://docs.aws.amazon.com/athena/latest/ug/data-types.html
_ATHENA = {
    "BIGINT": "bigint",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "INTEGER": "int",
    "TIMESTAMP": "timestamp",
    "VARCHAR": "string",
    "VARCHAR[]": "array<string>",
    "STRUCT(uri VARCHAR, sha256 VARCHAR, what VARCHAR, observed_at TIMESTAMP)[]": (
        "array<struct<uri:string,sha256:string,what:string,observed_at:timestamp>>"
    ),
}

# Of a column: https://docs.aws.amazon.com/glue/latest/webapi/API_Column.html. It takes no line ends.
_MAX_COMMENT = 255
_NOT_IN_A_COMMENT = re.compile(r"[\s\x00-\x1f\ufffe\uffff]+")

CUT_TABLE = "custody.cut"
"""Property of an Iceberg snapshot: the cuts whose files it added, by night."""


class CatalogError(Exception):
    """A table cannot be registered. The message says why and what to do."""


def athena_ddl(settings: Settings, mapping: TagMapping, *, database: str, first: date) -> str:
    """`CREATE EXTERNAL TABLE` for each published table, over the current copies and `live/`, with partition projection.

    Projection computes the nights from the dates: no crawler runs, and a new night is there at once.

    Args:
        settings: `CUSTODY_PUBLISH_URL` must be set.
        mapping: gives the tag columns of `chain_of_custody`.
        first: the first night that a query may name.
    """
    place = S3Location.parse(settings.require("publish_url"))
    tables = [_athena_table(place, name, mapping, database, first) for name in (*PUBLISHED_TABLES, *LIVE_TABLES)]
    return "\n".join([f"CREATE DATABASE IF NOT EXISTS {_name(database)};\n", *tables])


def _name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(text: str) -> str:
    """A string of Hive's DDL, which has the escapes of C; two single quotes would be none."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _comment(text: str) -> str:
    """A column's comment, cut where Glue would refuse the table; the data dictionary has it whole."""
    told = _NOT_IN_A_COMMENT.sub(" ", text)
    if len(told.encode()) > _MAX_COMMENT:
        told = told.encode()[: _MAX_COMMENT - len("…".encode())].decode(errors="ignore") + "…"
    return _text(told)


def _athena_table(place: S3Location, name: str, mapping: TagMapping, database: str, first: date) -> str:
    model = read_model(SQL_DIR / "custody" / f"{name}.sql")
    columns = [(column.name, column.data_type or "VARCHAR", column.description) for column in model.columns]
    if model.has_mapped_columns:
        at = next(number for number, column in enumerate(columns) if column[0] == "custody_status")
        mapped = [(tag.output_column, "VARCHAR", f"tag {', '.join(tag.names)}") for tag in mapping.columns]
        columns[at:at] = mapped
    width = max(len(column) for column, *_ in columns)
    lines = [
        f"  {_name(column)}{' ' * (width - len(column))} {_ATHENA[kind]} COMMENT {_comment(text)}"
        for column, kind, text in columns
    ]
    key = live_key if name in LIVE_TABLES else current_key
    folder, _, by_night = str(place / key(name, f"{name}.parquet", first)).rpartition("/")[0].partition("/date=")
    folder += "/"
    properties = {
        "projection.enabled": "true",
        "projection.date.type": "date",
        "projection.date.format": "yyyy-MM-dd",
        "projection.date.range": f"{first},NOW",
        "projection.date.interval": "1",
        "projection.date.interval.unit": "DAYS",
        "storage.location.template": f"{folder}date=${{date}}/",
    }
    told = ",\n".join(f"  {_text(key)} = {_text(value)}" for key, value in properties.items())
    partitions = "PARTITIONED BY (`date` date)\n" if by_night else ""
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {_name(database)}.{_name(name)} (\n" + ",\n".join(lines) + "\n)\n"
        f"COMMENT {_text(model.description)}\n{partitions}STORED AS PARQUET\n"
        f"LOCATION {_text(folder)}" + (f"\nTBLPROPERTIES (\n{told}\n)" if by_night else "") + ";\n"
    )


def register_iceberg(settings: Settings, catalog_name: str, namespace: str) -> dict[str, list[str]]:
    """Register every night's newest sealed Parquet files in Iceberg tables; nothing is copied or rewritten.

    The files of a cut never change, so an older snapshot of a table still reads the files that it named. A revision
    replaces its night's file in one transaction. Nothing is ever removed: `gc.enabled` is off.

    Args:
        settings: `CUSTODY_PUBLISH_URL` must be set.
        catalog_name: as pyiceberg's own configuration knows it (`.pyiceberg.yaml`, `PYICEBERG_CATALOG__…`).

    Returns:
        The nights whose files were registered or replaced, by table.

    Raises:
        CatalogError: pyiceberg is not installed, or does not know the catalogue.
        PointerError: a file below `current/` is no pointer to a night.
    """
    try:
        from pyiceberg.catalog import load_catalog
    except ImportError as error:
        raise CatalogError("pyiceberg is not installed: pip install 'custody-pipeline[catalog]'") from error
    place = S3Location.parse(settings.require("publish_url"))
    try:
        catalog = load_catalog(catalog_name, **_file_access(settings))
    except ValueError as error:
        raise CatalogError(
            f"pyiceberg knows no catalogue {catalog_name!r}; name it in .pyiceberg.yaml "
            f"or set PYICEBERG_CATALOG__{catalog_name.upper()}__URI"
        ) from error
    with catalog:
        return _register(catalog, namespace, place, list(_pointers(settings, place)))


def _register(
    catalog: Any, namespace: str, place: S3Location, pointers: list[tuple[str, int, set[str]]]
) -> dict[str, list[str]]:
    from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchTableError
    from pyiceberg.io import load_file_io

    with contextlib.suppress(NamespaceAlreadyExistsError):
        catalog.create_namespace(namespace)
    registered: dict[str, list[str]] = {}
    for name in PUBLISHED_TABLES:
        files = {
            night: str(place / f"{cut_prefix(night, revision)}data/{name}.parquet")
            for night, revision, tables in pointers
            if name in tables
        }
        identifier = f"{namespace}.{name}"
        try:
            table = catalog.load_table(identifier)
        except NoSuchTableError:
            if not files:
                continue
            table = catalog.create_table(
                identifier, schema=_schema(load_file_io(catalog.properties), files.values()), properties=_KEPT
            )
        registered[name] = _bring_up_to_date(table, files)
    return registered


_KEPT = {
    # Engines that honour it refuse to delete files: the files of a cut are evidence.
    "gc.enabled": "false",
    "history.expire.max-snapshot-age-ms": str(100 * 366 * 24 * 3600 * 1000),
    "write.metadata.delete-after-commit.enabled": "false",
}


def _schema(io: Any, files: Iterable[str]) -> Any:
    """The columns of all files together, by name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = []
    for file in files:
        with io.new_input(file).open() as stream:
            schemas.append(pq.read_schema(stream).remove_metadata())
    return pa.unify_schemas(schemas)


def _bring_up_to_date(table: Any, files: dict[str, str]) -> list[str]:
    there = {task.file.file_path for task in table.scan().plan_files()}
    new = {night: file for night, file in files.items() if file not in there}
    if not new:
        return []
    with table.update_schema() as update:
        # A column of a later mapping is read by its name; it is null in earlier nights.
        update.union_by_name(_schema(table.io, new.values()))
    replaced = [night for night in new if any(f"date={night}/" in path for path in there)]
    with table.transaction() as transaction:
        for night in replaced:
            transaction.delete(f"partition_date == '{night}'")
        transaction.add_files(list(new.values()), snapshot_properties={CUT_TABLE: " ".join(sorted(new))})
    return sorted(new)


def _pointers(settings: Settings, place: S3Location) -> Iterator[tuple[str, int, set[str]]]:
    """(night, revision, tables) of each night that is published. Raises PointerError."""
    reader = S3Reader(s3_client(settings), place)
    for entry in reader.list("current/"):
        told = read_pointer(reader, entry.path)
        yield str(told.night), told.revision, {file.table_name for file in told.files if file.format == "parquet"}


def _file_access(settings: Settings) -> dict[str, str]:
    """How pyiceberg reads our files, if its own configuration does not say so."""
    access = {"s3.endpoint": settings.s3_endpoint_url, "s3.region": settings.s3_region}
    credentials = new_session().get_credentials()
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        access |= {
            "s3.access-key-id": frozen.access_key,
            "s3.secret-access-key": frozen.secret_key,
            "s3.session-token": frozen.token,
        }
    return {name: value for name, value in access.items() if value}


def first_day(settings: Settings, given: date | None) -> date:
    """The first night of the tables.

    Raises:
        SettingsError: neither an option nor `CUSTODY_FIRST_NIGHT` names it.
    """
    found = given or settings.first_night
    if found is None:
        raise SettingsError("which night is the first? Give --from 2026-11-02, or set CUSTODY_FIRST_NIGHT")
    return found
