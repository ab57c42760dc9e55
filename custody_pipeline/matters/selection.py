"""The recordings that a matter's selection finds in the analysts' snapshot.

Belongs here: conditions → rows, kept in little memory, and ids that match nothing. Does not: gaps of the rows
(standing.py).
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any

import duckdb
import msgspec
import orjson

from custody_pipeline.extract.export_keys import is_conversation_id
from custody_pipeline.matters.matter import Matter, TagCondition, bare_number, digits_of
from custody_pipeline.models.mapping import plain
from custody_pipeline.models.reasons import REASONS
from custody_pipeline.settings import SettingsError
from custody_pipeline.warehouse.sql_files import query
from custody_pipeline.warehouse.sql_text import table_columns

_DIVISIONS = """lower(conversation_id) IN (
        SELECT lower(conversation_id) FROM custody.divisions
        WHERE list_has_any([lower(division_id), lower(trim(nfc_normalize(division_name)))], $divisions)
    ) OR ($or_unread AND lower(conversation_id) NOT IN (
        SELECT lower(conversation_id) FROM custody.divisions
        GROUP BY ALL HAVING bool_and(division_name IS NOT NULL OR NOT $divisions_by_name)
    ))"""
_NAMES = "SELECT DISTINCT lower(trim(nfc_normalize(unnest({})))) FROM custody."
_QUEUES = f"{_NAMES.format('list_concat(queue_ids, queue_names)')}chain_of_custody"
_NAMED_DIVISIONS = f"{_NAMES.format('[division_id, division_name]')}divisions"
_NAMED_AGENTS = "SELECT user_id FROM custody.agents WHERE user_name IS NOT NULL"
_OTHER_VALUES = """
    WITH alike AS (
        SELECT DISTINCT tag_value, nfc_normalize(tag_value) AS found, nfc_normalize($wanted) AS wanted
        FROM custody.custom_data
        WHERE tag_key = $key AND is_resolved
    )

    SELECT tag_value FROM alike WHERE found <> wanted AND lower(trim(found)) = lower(trim(wanted)) ORDER BY ALL
"""
_ROWS_AT_ONCE = 1_000
_PACKED_AT_ONCE = 500
_LEVEL = 1
_SUFFIX_DIGITS = 7
"""A number without a country code may be the end of another number, if it has at least this many digits."""


class Recording(msgspec.Struct, frozen=True):
    """A recording that the selection finds.

    Attributes:
        kind: call, screen, chat, email, message or callback; empty if unknown.
        media_sha256: of its audio, hex; None if the night has none.
        excluded: why it is not produced; None if it is.
    """

    night: date
    conversation_id: str
    recording_id: str
    kind: str
    media_sha256: str | None
    object_uri: str | None
    sidecar_uri: str | None
    row_sha256: str
    status: str
    reasons: tuple[str, ...]
    excluded: str | None = None
    note: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Conversation and recording."""
        return self.conversation_id, self.recording_id

    @property
    def has_audio(self) -> bool:
        """Whether the night has its audio, with bytes."""
        return self.media_sha256 is not None and "OBJECT_EMPTY" not in self.reasons

    @property
    def has_audio_to_produce(self) -> bool:
        """Whether its audio is produced and has bytes; otherwise the recording is an exception of each production."""
        return self.excluded is None and self.has_audio


class Recordings:
    """Recordings in an order, to be read from the first to the last any number of times: 0.2 KB each in memory."""

    def __init__(self, recordings: Iterable[Recording] = ()) -> None:
        self._count, self._parts = 0, list[bytes]()
        waiting = iter(recordings)
        while part := list(islice(waiting, _PACKED_AT_ONCE)):
            self._parts.append(zlib.compress(msgspec.msgpack.encode(part), _LEVEL))
            self._count += len(part)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Recording]:
        decoder = msgspec.msgpack.Decoder(list[Recording])
        for part in self._parts:
            yield from decoder.decode(zlib.decompress(part))


@dataclass(frozen=True)
class Found:
    """The result of a selection.

    Attributes:
        recordings: in the order of their conversations' start.
        unmatched: ids that no collected night has.
        elsewhere: ids whose recordings do not fulfil the other conditions.
        excluded_unmatched: excluded ids that the selection does not find.
        repeated: lines of the list that repeat an id.
        strangers: agents of the matter file that no collected night has.
        unseen_queues: queues and divisions of the matter file that no collected night has.
        unseen_tags: keys of its tag conditions that no collected night has.
        variants: other spellings of these keys, and of values that a condition names: the conditions do not find them.
    """

    recordings: Recordings
    unmatched: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    excluded_unmatched: tuple[str, ...] = ()
    repeated: int = 0
    strangers: tuple[str, ...] = ()
    unseen_tags: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    unseen_queues: tuple[str, ...] = ()

    @property
    def without_bytes(self) -> int:
        """How many that are not excluded have an audio file without bytes. It is produced as it is."""
        return sum(item.media_sha256 is not None and not item.has_audio for item in self.produced)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Agents, queues, divisions and tags of the matter file that no collected night has."""
        return (*self.strangers, *self.unseen_queues, *self.unseen_tags)

    @property
    def produced(self) -> Iterator[Recording]:
        """Those that are not excluded."""
        return (recording for recording in self.recordings if recording.excluded is None)


def select(con: duckdb.DuckDBPyConnection, matter: Matter) -> Found:
    """Find the recordings of a matter. A condition on media finds those of an unknown kind, too.

    Args:
        con: the analysts' snapshot, read-only.

    Raises:
        SettingsError: the SQL condition is refused.
    """
    selection = matter.selection
    rows, bound = _rows(con, matter)
    sql = f"WITH selected AS ({rows}) {query('matters/recordings')}"
    numbered = list(enumerate(matter.exclusions))
    excluded = {item: number for number, exclusion in reversed(numbered) for item in exclusion.ids.ids}
    named, used = excluded.keys() | set(bound["ids"]), set[str]()

    def recordings() -> Iterator[Recording]:
        for row in _run(con, sql, bound, matter):
            names = named & {str(row[1]).lower(), str(row[2]).lower()}
            used.update(names)
            # The first exclusion of the conversation or the recording counts.
            first = min((excluded[name] for name in names if name in excluded), default=None)
            why = () if first is None else (matter.exclusions[first].reason, matter.exclusions[first].note)
            yield Recording(*row, *why)

    found = Recordings(recordings())
    missing = [name for name in bound["ids"] if name not in used]
    known = set(con.execute(query("matters/known_ids"), {"ids": missing}).fetchall() if missing else ())
    unseen, variants = _spelled(con, selection.tags)
    return Found(
        found,
        tuple(name for name in missing if (name,) not in known),
        tuple(name for name in missing if (name,) in known),
        tuple(name for name in excluded if name not in used),
        selection.ids.repeated if selection.ids else 0,
        _agents(con, selection.agents)[1],
        unseen,
        variants,
        _unseen(con, selection.queues, _QUEUES) + _unseen(con, selection.divisions, _NAMED_DIVISIONS),
    )


def not_known(con: duckdb.DuckDBPyConnection, matter: Matter) -> tuple[int, int]:
    """Recordings that may belong to a matter besides those that `select` finds, and how many may still be read.

    No document of them could be read, so nothing tells agents, queues, divisions, numbers or tags; or the name of an
    agent, a queue or a division is not known. Call `select` first.
    """
    if not matter.selection.asks_for_documents:
        return 0, 0
    of_documents = [reason.code for reason in REASONS if "tags" in reason.explains and reason.recoverable != "no"]
    counts = []
    for or_unread in (True, False):
        rows, bound = _rows(con, matter, or_unread=or_unread)
        sql = f"SELECT count(*), count(*) FILTER (is_unread AND list_has_any(gap_reasons, $codes)) FROM ({rows})"
        counts.append(con.execute(sql, bound | {"codes": of_documents}).fetchall()[0])
    (perhaps, all_coming), (found, coming) = counts
    return perhaps - found, all_coming - coming


def latest_nights(con: duckdb.DuckDBPyConnection, matter: Matter, *, or_unknown: bool) -> dict[str, date]:
    """The conversations that a matter selects, each with the latest night of a recording that it selects.

    Args:
        con: as for `select`.
        or_unknown: also what may belong to it: those that `not_known` counts, and recordings of an unknown kind.

    Raises:
        SettingsError: the SQL condition is refused.
    """
    rows, bound = _rows(con, matter, unknown_kinds=or_unknown, or_unread=or_unknown)
    sql = f"SELECT conversation_id, max(partition_date) FROM ({rows}) GROUP BY conversation_id"
    return dict(_run(con, sql, bound, matter))


def _rows(
    con: duckdb.DuckDBPyConnection, matter: Matter, *, unknown_kinds: bool = True, or_unread: bool = False
) -> tuple[str, dict[str, Any]]:
    """The query for a matter's rows, and its parameters. `or_unread`: also those that `not_known` counts."""
    selection = matter.selection
    begin, end = matter.window()
    whole, ends = _digits(selection.numbers)
    # The recording interface says audio, which a callback may be as well.
    of_audio = {"call", "callback"} if unknown_kinds else {"call"}
    media = [*selection.media, *(["audio"] if of_audio.intersection(selection.media) else [])]
    bound: dict[str, Any] = {
        "ids": list(selection.ids.ids) if selection.ids else [],
        "by_id": selection.ids is not None,
        "first_moment": begin,
        "end_moment": end,
        "agents": _agents(con, selection.agents)[0],
        "agents_by_name": _has_name(selection.agents),
        "queues": list(map(_name, selection.queues)),
        "queues_by_name": _has_name(selection.queues),
        "media": media,
        "unknown_kinds": unknown_kinds,
        "whole": whole,
        "ends": ends,
        "tags": [{"pointer": _pointer(tag.key), "how": tag.how, "wanted": tag.value} for tag in selection.tags],
        "or_unread": or_unread,
    }
    divisions = "true"
    if selection.divisions:
        if not table_columns(con, "custody.divisions"):
            raise SettingsError(f"{matter.path}: divisions: no collected night has them; run a night first")
        divisions, bound["divisions"] = _DIVISIONS, list(map(_name, selection.divisions))
        bound["divisions_by_name"] = _has_name(selection.divisions)
    where = f"({divisions}) AND (coalesce(({_condition(con, matter)}), false) OR ($or_unread AND is_unread))"
    # A snapshot of an earlier version has no agents.
    named = _NAMED_AGENTS if table_columns(con, "custody.agents") else "SELECT '' AS user_id"
    return f"WITH named_agents AS ({named}) FROM ({query('matters/selected')}) AS c WHERE {where}", bound


def _name(text: str) -> str:
    """A name as it is compared: an accented letter has two spellings, which look the same."""
    return unicodedata.normalize("NFC", text).strip().lower()


def _has_name(wanted: tuple[str, ...]) -> bool:
    """Whether an agent, queue or division is asked for by its name, and not by its id."""
    return not all(map(is_conversation_id, wanted))


def agent_names(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, str]]:
    """User id → name and e-mail address of every agent of the collected nights, the newest."""
    return {user_id: (name, email) for user_id, name, email, _ in _agents_of(con)}


def _agents_of(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str, list[str]]]:
    """User id, newest name and address, all names and addresses of every agent of the collected nights."""
    if not table_columns(con, "custody.agents"):  # a snapshot of an earlier version has none
        return []
    return con.execute(query("matters/agents")).fetchall()


def _agents(con: duckdb.DuckDBPyConnection, wanted: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """User ids of agents given by id, name or e-mail address, and those that no collected night has."""
    if not wanted:
        return [], ()
    named: dict[str, set[str]] = {}
    for user_id, _, _, words in _agents_of(con):
        for word in (user_id, *words):
            named.setdefault(_name(word).casefold(), set()).add(user_id.lower())
    strangers = tuple(agent for agent in wanted if _name(agent).casefold() not in named)
    # An agent that no night has must find nothing; without the id, the condition would find everything.
    ids = {found for agent in wanted for found in named.get(_name(agent).casefold(), {_name(agent)})}
    return sorted(ids), strangers


def _unseen(con: duckdb.DuckDBPyConnection, wanted: tuple[str, ...], seen: str) -> tuple[str, ...]:
    """Which of the wanted names no collected night has. `seen`: a query for the names in lower case."""
    known = set(con.execute(seen).fetchall() if wanted else ())
    return tuple(name for name in wanted if (_name(name),) not in known)


def tag_keys(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Every key of a tag of the collected nights."""
    if not table_columns(con, "custody.custom_data"):  # an erasure selects among recordings alone
        return []
    return [key for (key,) in con.execute("SELECT DISTINCT tag_key FROM custody.custom_data ORDER BY ALL").fetchall()]


def _spelled(
    con: duckdb.DuckDBPyConnection, conditions: tuple[TagCondition, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which keys no participant of any collected night has, in these letters; keys and values that differ in them."""
    if not conditions:
        return (), ()
    keys = [tag.key for tag in conditions]
    seen, alike = tag_keys(con), {plain(key) for key in keys}
    variants = (key for key in seen if key not in keys and plain(key) in alike)
    values = (
        f"{tag.key} = {value}"
        for tag in conditions
        if tag.how == "=" and tag.key in seen
        for (value,) in con.execute(_OTHER_VALUES, {"key": tag.key, "wanted": tag.value}).fetchall()
    )
    return tuple(key for key in keys if key not in seen), (*variants, *values)


def _digits(numbers: Iterable[str]) -> tuple[list[str], list[str]]:
    """Numbers as digits: those that must be the whole number, and those that may be its end."""
    whole: list[str] = []
    ends: list[str] = []
    for number in numbers:
        digits = digits_of(number)
        international = bare_number(number).startswith(("+", "00"))
        (whole if international or len(digits) < _SUFFIX_DIGITS else ends).append(digits)
    return whole, ends


def _pointer(key: str) -> str:
    """A JSON pointer (RFC 6901) to a member."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _condition(con: duckdb.DuckDBPyConnection, matter: Matter) -> str:
    """The SQL condition, if it is one expression."""
    where = matter.selection.where
    if where is None:
        return "true"
    # A line comment in it must not hide what follows.
    text = f"{where}\n"
    # Without the parentheses as well: it must not close them.
    for form in (text, f"({text})"):
        row = con.execute("SELECT json_serialize_sql($sql)", {"sql": f"SELECT 1 FROM t WHERE {form}"}).fetchone()
        parsed = orjson.loads(row[0] if row else "{}")
        if parsed.get("error"):
            break
    nodes = [statement["node"] for statement in parsed.get("statements", [])]
    plain = len(nodes) == 1 and nodes[0]["type"] == "SELECT_NODE" and not nodes[0]["modifiers"]
    if not plain or nodes[0]["group_expressions"] or nodes[0]["having"] or nodes[0]["qualify"]:
        why = str(parsed.get("error_message") or "it is more than one condition").splitlines()[0]
        raise SettingsError(f"{matter.path}: where: {why}; expected one SQL condition, for example duration_ms > 60000")
    return text


def _run(con: duckdb.DuckDBPyConnection, sql: str, bound: dict[str, Any], matter: Matter) -> Iterator[tuple[Any, ...]]:
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    try:
        answer = con.execute(sql, bound)
        while rows := answer.fetchmany(_ROWS_AT_ONCE):
            yield from rows
    except duckdb.Error as error:
        if matter.selection.where is None:
            raise
        raise SettingsError(
            f"{matter.path}: where: {str(error).splitlines()[0]}; docs/data-dictionary.md has the columns"
        ) from error
