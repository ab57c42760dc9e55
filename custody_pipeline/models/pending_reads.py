"""What the night still has to read, asked of the warehouse: single reads, objects to hash, digests already taken.

Belongs here: running `sql/pending_reads` and handing over its answers. Does not: the reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from custody_pipeline.extract.media import KnownDigest, MediaObject, ObjectVersion
from custody_pipeline.load.raw_tables import create_raw_tables
from custody_pipeline.models.night_views import reading, show
from custody_pipeline.warehouse.sql_files import SQL_DIR, read_model

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from custody_pipeline.models.mapping import MappedTag
    from custody_pipeline.settings import Settings


@dataclass(frozen=True)
class Worklists:
    """Conversation ids to read one by one, with the reasons: recording metadata, and the conversations themselves."""

    recordings: dict[str, list[str]]
    conversations: dict[str, list[str]]


def read_worklists(
    con: duckdb.DuckDBPyConnection, settings: Settings, night: date, tags: Iterable[MappedTag] = ()
) -> Worklists:
    """The night's single reads, from what is loaded so far.

    Args:
        con: the warehouse.
        settings: `single_reads=all` reads everything; so does `manifest_source=recording_jobs`, for recordings: jobs
            name no recording that they exported.
        night: the UTC day.
        tags: the mapping's columns; those that are required decide.
    """
    create_raw_tables(con)
    everything = settings.single_reads == "all"
    required = [
        {"names": tag.names, "queues": tag.queues, "flows": tag.flows, "scripts": tag.scripts}
        for tag in tags
        if tag.required
    ]
    recordings = {"read_all": everything or settings.manifest_source == "recording_jobs"}
    conversations = {"read_all": everything, "required_tags": orjson.dumps(required).decode()}
    return Worklists(
        recordings=_ids(con, night, "recordings_to_read", recordings),
        conversations=_ids(con, night, "conversations_to_read", conversations),
    )


def _ids(con: duckdb.DuckDBPyConnection, night: date, name: str, arguments: dict[str, Any]) -> dict[str, list[str]]:
    model = read_model(SQL_DIR / "pending_reads" / f"{name}.sql")
    with con.cursor() as cursor:
        show(cursor, model.depends_on)
        with reading(cursor, night, night + timedelta(days=1)):
            return dict(cursor.execute(model.sql, arguments).fetchall())


_CURRENT = """
    SELECT landing_id FROM raw.extraction_receipts
    WHERE partition_date = $night AND resource = $resource AND receipt_state IN ('complete', 'partial')
    ORDER BY sequence DESC NULLS LAST, landing_id DESC LIMIT 1
"""


def media_objects(con: duckdb.DuckDBPyConnection, night: date) -> list[MediaObject]:
    """Every version of every media object of the night's newest listing, delete markers apart."""
    create_raw_tables(con, ("export_objects", "extraction_receipts"))
    rows = (
        con.cursor()
        .execute(
            f"""
            SELECT bucket, object_key, version_id, etag, last_modified, object_bytes,
                checksum_algorithm LIKE '%SHA256%' AND checksum_type = 'FULL_OBJECT'
            FROM raw.export_objects
            WHERE partition_date = $night AND landing_id = ({_CURRENT})
                AND object_role = 'media' AND NOT is_delete_marker
            ORDER BY bucket, object_key, last_modified, version_id
            """,
            {"night": night, "resource": "export_objects"},
        )
        .fetchall()
    )
    return [MediaObject(ObjectVersion(*row[:6]), bool(row[6])) for row in rows]


def captured_audio(
    con: duckdb.DuckDBPyConnection, night: date
) -> list[tuple[str, str, str, str, str | None, int, str]]:
    """Audio of captured conversations that is there and hashed.

    Returns:
        (conversation id, recording id, bucket, key, version id, bytes, SHA-256), one for each recording, in order.
    """
    create_raw_tables(con, ("export_objects", "media_digests", "captures", "extraction_receipts"))
    return (
        con.cursor()
        .execute(
            f"""
            SELECT o.conversation_id, o.recording_id, o.bucket, o.object_key, o.version_id, o.object_bytes, d.sha256
            FROM raw.export_objects AS o
            INNER JOIN raw.media_digests AS d
                ON d.partition_date = o.partition_date AND d.bucket = o.bucket AND d.object_key = o.object_key
                AND d.version_id IS NOT DISTINCT FROM o.version_id AND d.etag IS NOT DISTINCT FROM o.etag
            WHERE o.partition_date = $night AND o.landing_id = ({_CURRENT}) AND o.object_role = 'media'
                AND o.is_latest AND NOT o.is_delete_marker AND o.object_bytes > 0
                AND o.recording_id IS NOT NULL AND d.sha256 IS NOT NULL
                AND o.conversation_id IN (SELECT conversation_id FROM raw.captures WHERE partition_date = $night)
            QUALIFY row_number() OVER (
                PARTITION BY o.conversation_id, o.recording_id ORDER BY o.last_modified DESC, o.object_key, d.hashed_at
            ) = 1
            ORDER BY o.conversation_id, o.recording_id
            """,
            {"night": night, "resource": "export_objects"},
        )
        .fetchall()
    )


def known_conversations(con: duckdb.DuckDBPyConnection, night: date, conversation_ids: set[str]) -> set[str]:
    """Which of the ids are conversations of the night, by what is loaded so far, for whichever night it was read."""
    create_raw_tables(con, ("export_objects", "conversation_details", "recording_metadata", "conversations"))
    rows = con.cursor().execute(
        """
        SELECT id
        FROM (SELECT unnest($ids::VARCHAR[]) AS id)
        WHERE id IN (SELECT conversation_id FROM raw.conversation_details WHERE partition_date = $night)
            OR id IN (SELECT conversation_id FROM raw.export_objects WHERE partition_date = $night)
            OR id IN (SELECT conversation_id FROM raw.recording_metadata WHERE partition_date = $night)
            OR id IN (SELECT conversation_id FROM raw.conversations WHERE start_time::DATE = $night)
        """,
        {"ids": list(conversation_ids), "night": night},
    )
    return {str(row[0]) for row in rows.fetchall()}


def known_addresses(con: duckdb.DuckDBPyConnection, night: date, conversation_ids: set[str]) -> dict[str, set[str]]:
    """Numbers and addresses of callers and called, as written, that any load of the night brought of conversations."""
    create_raw_tables(con, ("conversation_details", "conversations"))
    rows = con.cursor().execute(
        """
        SELECT conversation_id, address
        FROM (
            SELECT conversation_id, unnest(flatten(flatten(list_transform(
                participants, lambda p: list_transform(p.sessions, lambda s: [s.ani, s.dnis])
            )))) AS address
            FROM raw.conversation_details
            WHERE partition_date = $night AND list_contains($ids, conversation_id)
            UNION
            SELECT key_conversation_id, unnest(flatten(list_transform(participants, lambda p: [p.ani, p.dnis])))
            FROM raw.conversations
            WHERE partition_date = $night AND list_contains($ids, key_conversation_id)
        )
        WHERE address IS NOT NULL
        """,
        {"ids": list(conversation_ids), "night": night},
    )
    found: dict[str, set[str]] = {}
    for conversation_id, address in rows.fetchall():
        found.setdefault(conversation_id, set()).add(address)
    return found


def known_digests(con: duckdb.DuckDBPyConnection, night: date) -> dict[ObjectVersion, KnownDigest]:
    """Digests that earlier loads of the night took, killed ones included: a digest is of bytes, whoever needed it."""
    create_raw_tables(con, ("media_digests",))
    rows = (
        con.cursor()
        .execute(
            """
            SELECT bucket, object_key, version_id, etag, last_modified, object_bytes, sha256, md5, method, hashed_at
            FROM raw.media_digests
            WHERE partition_date = $night AND sha256 IS NOT NULL
            ORDER BY hashed_at DESC, landing_id DESC
            """,
            {"night": night},
        )
        .fetchall()
    )
    # The earliest comes last and stays.
    return {ObjectVersion(*row[:6]): KnownDigest(*row[6:]) for row in rows}
