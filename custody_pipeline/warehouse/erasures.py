"""Requests for erasure that this home carries out or has carried out: `$CUSTODY_HOME/erasures/<id>.json`.

Belongs here: the requests, which conversations are erased, and the rows that stand for their recordings
(`raw.erasures`). Does not: carrying a request out (forgetting/).

A request is written down before anything is removed. A killed process therefore continues with the same conversations,
and nothing of them is ever collected again.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

import duckdb
import msgspec

from custody_pipeline.io.whole_file import found_in, read_json, write_whole
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import create_table, transaction

ERASURE_COLUMNS: dict[str, tuple[str, str]] = {
    "partition_date": ("DATE", "night of the recording"),
    "conversation_id": ("VARCHAR", "its conversation"),
    "recording_id": ("VARCHAR", "the recording whose content was erased"),
    "erasure_id": ("VARCHAR", "request; erasure.json of the night's cut has the same"),
    "asked_at": ("TIMESTAMP", "when the erasure was asked for (UTC)"),
}
"""The columns of `raw.erasures`: type and meaning."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

State = Literal["waiting", "begun", "done"]


class Tombstone(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """A recording whose content is erased. `night`: its partition, `YYYY-MM-DD`."""

    night: str
    conversation_id: str
    recording_id: str


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request for erasure.

    Attributes:
        id: 32 hex digits.
        asked_at: UTC, RFC 3339.
        authority: the right or order that demands the erasure.
        selected_by: kinds of conditions, never their values.
        recordings: of these conversations, sorted.
        shared: ids, in lower case, of recordings that another conversation has, too: they name no document.
        nights: those with data of these conversations, sorted.
        media: whether audio in the export bucket goes as well.
        bypass_governance: whether a GOVERNANCE lock may be broken.
        state: `waiting` for holds to end, `begun`, `done`.
        held: the holds that it waits for, a sentence each.
        counts: kind of place → items that were found there.
        cleared: everything that is not published is removed.
        sealed: night → revision that holds the statement.
        notes: what people must know or do, such as to whom copies went.
        forget_key: the request removes no conversation, but the key of its one night.
    """

    id: str
    asked_at: str
    operator: str
    reason: str
    authority: str
    selected_by: tuple[str, ...]
    conversations: tuple[str, ...]
    recordings: tuple[Tombstone, ...]
    nights: tuple[str, ...]
    media: bool = False
    bypass_governance: bool = False
    state: State = "begun"
    held: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    cleared: bool = False
    sealed: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    forget_key: bool = False
    shared: tuple[str, ...] = ()

    @property
    def is_of_policy(self) -> bool:
        """Whether the retention policy asked. Such a request does not wait: the policy may change meanwhile."""
        return self.selected_by == ("policy",)


def requests_of(settings: Settings) -> list[Request]:
    """Every request, oldest first.

    Raises:
        DamagedFileError: a request is not as it was written.
        OSError: their folder cannot be read.
    """
    found = [read_json(path, Request) for path in found_in(settings.home / "erasures", "*.json")]
    return sorted(found, key=lambda request: (request.asked_at, request.id))


def keep_request(settings: Settings, request: Request) -> None:
    """Write a request down, in one step; durable when this returns."""
    write_whole(_path(settings, request), msgspec.json.format(msgspec.json.encode(request), indent=1) + b"\n")


def drop_request(settings: Settings, request: Request) -> None:
    """Remove a request that was not begun."""
    _path(settings, request).unlink()


def _path(settings: Settings, request: Request) -> Path:
    return settings.home / "erasures" / f"{request.id}.json"


def erased_conversations(settings: Settings) -> frozenset[str]:
    """Ids, in lower case, of conversations of which nothing may be kept any more."""
    active = (request for request in requests_of(settings) if request.state != "waiting")
    return frozenset(name.lower() for request in active for name in request.conversations)


def erased_names(settings: Settings) -> frozenset[str]:
    """Ids, in lower case, by which a document is known to be of an erased conversation: its own and its recordings'."""
    active = [request for request in requests_of(settings) if request.state != "waiting"]
    return frozenset(name for request in active for name in names_of(request))


def names_of(request: Request) -> frozenset[str]:
    """Ids, in lower case, of a request's conversations, and of their recordings if nothing else has that id.

    A recording that only an exported file tells has the file's name, such as `audio`, which other files may have.
    """
    recordings = {item.recording_id.lower() for item in request.recordings if _UUID.fullmatch(item.recording_id)}
    # An empty id, as in a damaged answer, would name every row without one.
    return frozenset(({name.lower() for name in request.conversations} | recordings) - {"", *request.shared})


def with_shared(con: duckdb.DuckDBPyConnection, request: Request) -> Request:
    """The request with its `shared` recordings, by the rows of the warehouse `con`."""
    ids = sorted({name.lower() for name in request.conversations})
    rows = con.execute(query("forgetting/shared"), {"ids": ids}).fetchall()
    return msgspec.structs.replace(request, shared=tuple(row[0] for row in rows))


def create_erasures(con: duckdb.DuckDBPyConnection) -> None:
    """Create `raw.erasures` if it is not there."""
    create_table(con, "raw.erasures", {name: kind for name, (kind, _) in ERASURE_COLUMNS.items()})


def write_erasures(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Write the recordings of the home's requests to `raw.erasures`; of several requests, the first counts."""
    rows = {
        (date.fromisoformat(item.night), item.conversation_id, item.recording_id): (
            request.id,
            datetime.fromisoformat(request.asked_at).astimezone(UTC).replace(tzinfo=None),
        )
        for request in reversed(requests_of(settings))
        if request.state != "waiting"
        for item in request.recordings
    }
    lines = [(*key, *row) for key, row in rows.items()]
    known = con.execute(f"SELECT {', '.join(ERASURE_COLUMNS)} FROM raw.erasures").fetchall()
    if len(known) == len(lines) and set(known) == set(lines):
        return
    import pyarrow as pa  # takes a tenth of a second, and `custody status` needs none

    columns = [pa.array([str(line[place]) for line in lines], pa.string()) for place in range(len(ERASURE_COLUMNS))]
    with transaction(con):
        con.execute("DELETE FROM raw.erasures")
        # As one table: a hundred thousand rows one by one take minutes.
        con.register("erasures_of_home", pa.table(columns, names=list(ERASURE_COLUMNS)))
        con.execute("INSERT INTO raw.erasures BY NAME FROM erasures_of_home")
        con.unregister("erasures_of_home")
