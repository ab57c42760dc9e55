"""Pending reads, by queries of the warehouse: single reads, objects to hash, digests that are already known.

Belongs here: running the queries and returning their rows. Does not: reading from the API or S3 (extract).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import duckdb
import orjson

from custody_pipeline.extract.media import KnownDigest, MediaObject, ObjectVersion
from custody_pipeline.io.clock import utc_now
from custody_pipeline.load.raw_tables import create_raw_tables
from custody_pipeline.models.mapping import MappedTag
from custody_pipeline.models.night_views import reading, show
from custody_pipeline.models.run import RECHECK_DAYS
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import SQL_DIR, query, read_model


def recordings_to_read(con: duckdb.DuckDBPyConnection, settings: Settings, night: date) -> dict[str, list[str]]:
    """Conversation ids whose recording metadata is to be read, by everything that is loaded so far, with the reasons.

    Args:
        settings: `single_reads=all` reads everything, and so does `manifest_source=recording_jobs`, because jobs do
            not name the recordings that they exported.
    """
    everything = settings.single_reads == "all" or settings.manifest_source == "recording_jobs"
    return _ids(con, night, "recordings_to_read", {"read_all": everything})


def conversations_to_read(
    con: duckdb.DuckDBPyConnection, settings: Settings, night: date, tags: Iterable[MappedTag] = ()
) -> dict[str, list[str]]:
    """Ids of conversations to read one by one, by everything that is loaded so far, with the reasons.

    Args:
        settings: `single_reads=all` reads everything.
        tags: the mapping's columns; only required ones matter.
    """
    required = [
        {"names": tag.names, "queues": tag.queues, "flows": tag.flows, "scripts": tag.scripts}
        for tag in tags
        if tag.required
    ]
    arguments = {"read_all": settings.single_reads == "all", "required_tags": orjson.dumps(required).decode()}
    return _ids(con, night, "conversations_to_read", arguments)


def _ids(con: duckdb.DuckDBPyConnection, night: date, name: str, arguments: dict[str, Any]) -> dict[str, list[str]]:
    create_raw_tables(con)
    model = read_model(SQL_DIR / "pending_reads" / f"{name}.sql")
    with con.cursor() as cursor:
        show(cursor, model.depends_on)
        with reading(cursor, night, night + timedelta(days=1)):
            return dict(cursor.execute(model.sql, arguments).fetchall())


def media_objects(con: duckdb.DuckDBPyConnection, night: date) -> list[MediaObject]:
    """Every version of every media object in the night's newest listing, without delete markers."""
    create_raw_tables(con, ("export_objects", "extraction_receipts"))
    rows = con.cursor().execute(query("collect/media_objects"), {"night": night}).fetchall()
    return [MediaObject(ObjectVersion(*row[:6]), bool(row[6])) for row in rows]


def captured_audio(
    con: duckdb.DuckDBPyConnection, night: date
) -> list[tuple[str, str, str, str, str | None, int, str]]:
    """Audio of captured conversations that is in the bucket and hashed.

    Returns:
        (conversation id, recording id, bucket, key, version id, bytes, SHA-256), one for each recording, in order.
    """
    create_raw_tables(con, ("export_objects", "media_digests", "captures", "extraction_receipts"))
    return con.cursor().execute(query("collect/captured_audio"), {"night": night}).fetchall()


def known_conversations(con: duckdb.DuckDBPyConnection, night: date, conversation_ids: set[str]) -> set[str]:
    """Which of the ids are conversations of the night, by everything that is loaded so far, for any night."""
    create_raw_tables(con, ("export_objects", "conversation_details", "recording_metadata", "conversations"))
    rows = con.cursor().execute(
        query("collect/conversations_of_night"), {"ids": list(conversation_ids), "night": night}
    )
    return {str(row[0]) for row in rows.fetchall()}


def last_day(con: duckdb.DuckDBPyConnection, night: date) -> date:
    """The day on which the night's last conversation ended, or today while one goes on; at least the day after."""
    create_raw_tables(con, ("conversation_details",))
    rows = con.cursor().execute(query("collect/last_day"), {"night": night, "now": utc_now()}).fetchall()
    first, last = night + timedelta(days=1), night + timedelta(days=RECHECK_DAYS)
    return min(max(first, rows[0][0] or first), last)


def known_addresses(con: duckdb.DuckDBPyConnection, night: date, conversation_ids: set[str]) -> dict[str, set[str]]:
    """Conversation → numbers and addresses of its callers and called parties, as written in any load of the night."""
    create_raw_tables(con, ("conversation_details", "conversations"))
    rows = con.cursor().execute(query("collect/addresses"), {"ids": list(conversation_ids), "night": night})
    found: dict[str, set[str]] = {}
    for conversation_id, address in rows.fetchall():
        found.setdefault(conversation_id, set()).add(address)
    return found


def known_digests(con: duckdb.DuckDBPyConnection, night: date) -> dict[ObjectVersion, KnownDigest]:
    """Digests that earlier loads of the night computed, also killed loads: a digest of the same bytes stays true."""
    create_raw_tables(con, ("media_digests",))
    rows = con.cursor().execute(query("collect/known_digests"), {"night": night}).fetchall()
    # The earliest comes last and stays.
    return {ObjectVersion(*row[:6]): KnownDigest(*row[6:]) for row in rows}
