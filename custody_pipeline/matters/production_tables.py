"""The tables of a production: index, load file, exceptions, custody log.

Belongs here: columns, formats, escaping. Does not: which recordings are in it (volume_plan.py), pages (pages.py).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from custody_pipeline.evidence.cut.workbook import write_workbook
from custody_pipeline.evidence.package.volume_tables import FIELD, LOAD_COLUMNS, QUOTE, TAG, duration, load_value
from custody_pipeline.extract.documents import BYTE_ORDER_MARK
from custody_pipeline.matters.case_uco import CaseWriter
from custody_pipeline.matters.matter import DATE_FORMS, Matter
from custody_pipeline.models.mapping_file import is_tag_column
from custody_pipeline.models.reasons import BY_CODE, OF_AUDIO
from custody_pipeline.publish.harmless_csv import harmless_csv

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 100
EXCEPTIONS = ("what", "conversation_id", "recording_id", "night", "why", "explanation", "can_still_be_had", "proof")

_LOGGED = (
    "control_number", "occurred_at", "action", "who", "operator", "what", "where_at", "why", "how", "tool_version",
    "git_revision", "sha256_before", "sha256_after", "conversation_id", "recording_id",
)  # fmt: skip
_IN_TERMS = ("role", "nist_sp_800_86_phase", "iso_27037_process")
CUSTODY_LOG = (*_LOGGED, *_IN_TERMS)

_LOAD_FIELDS = {
    "BEGDOC": ("Fixed-Length Text", "control number; the document identifier"),
    "ENDDOC": ("Fixed-Length Text", "the same: a recording is one document"),
    "VOLUME": ("Fixed-Length Text", "volume of the production"),
    "CUSTODIAN": ("Single Choice", "as the matter file says"),
    "FILENAME": ("Fixed-Length Text", "name of the audio file"),
    "NATIVEPATH": ("Native File", "path of the audio file below the volume"),
    "FILESIZE": ("Whole Number", "bytes of the audio file"),
    "MD5HASH": ("Fixed-Length Text", "MD5 of the audio file, as sealed"),
    "SHA256HASH": ("Fixed-Length Text", "SHA-256 of the audio file, as sealed"),
    "DATESENT": ("Date", "start of the recording, else of the conversation, in TIMEZONE"),
    "TIMESENT": ("Fixed-Length Text", "of the same moment, HH:MM:SS"),
    "TIMEZONE": ("Fixed-Length Text", "name of the zone, and the offset from UTC"),
    "DURATION": ("Fixed-Length Text", "HH:MM:SS"),
    "DIRECTION": ("Single Choice", "inbound or outbound"),
    "CALLER": ("Fixed-Length Text", "caller's number"),
    "CALLED": ("Fixed-Length Text", "called number"),
    "AGENT": ("Long Text", "names of the agents, else their user ids"),
    "AGENTEMAIL": ("Long Text", "e-mail addresses of the agents"),
    "AGENTID": ("Long Text", "user ids of the agents"),
    "QUEUE": ("Long Text", "names of the queues, else their ids"),
    "QUEUEID": ("Long Text", "ids of the queues; QUEUE lacks those whose name the client may not see"),
    "MEDIATYPE": ("Single Choice", "kind of media"),
    "CONVERSATIONID": ("Fixed-Length Text", "the vendor's conversation"),
    "RECORDINGID": ("Fixed-Length Text", "the vendor's recording"),
    "GAPS": ("Long Text", "what is missing of this recording, in words"),
    "SUPERSEDES": ("Fixed-Length Text", "control number of an earlier production of the same recording"),
}
"""Field of the load file → its type of field in Relativity, and its meaning."""

_SEC_FIELDS = {
    "Caller Name": "caller_name",
    "Originating Number": "caller_number",
    "Called Party Name": "called_name",
    "Terminating Number": "called_number",
    "Date": "date",
    "Time": "time",
    "Filename": "file_name",
}
# Phase of NIST SP 800-86, process of ISO/IEC 27037, of each action.
_PHASES = {
    "exported": ("collection", "acquisition (by the vendor)"),
    "collected": ("collection", "acquisition"),
    "captured": ("collection", "acquisition"),
    "held": ("collection", "preservation"),
    "changed": ("collection", "acquisition"),
    "hashed": ("examination", "preservation"),
    "verified": ("examination", "preservation"),
    "joined": ("analysis", ""),
    "published": ("reporting", "preservation"),
    "packaged": ("reporting", ""),
}


def index_row(
    matter: Matter,
    row: Mapping[str, str | None],
    agent_names: Mapping[str, tuple[str, str]],
    *,
    volume: str,
    control: str,
    native: str,
    size: int,
    supersedes: str | None = None,
) -> dict[str, str]:
    """A recording as a line of the index; every value is text, and as sealed, but for the agents' e-mail addresses.

    Args:
        row: the sealed row, or the shown part of it.
        agent_names: user id → name and e-mail address. Its name stands where the night knew none.
        control: its control number; `supersedes`: the one in an earlier production.
        native: its file below the volume, with slashes.
        size: bytes of that file.
    """
    moment = _moment(row.get("recording_start") or row.get("conversation_start"))
    local = moment.astimezone(matter.zone) if moment else None
    ids, caller, called = _list(row.get("user_ids")), row.get("ani") or "", row.get("dnis") or ""
    sealed = orjson.loads(row.get("agent_names") or "[]") or [None] * len(ids)
    agents = "; ".join(
        name or agent_names.get(user_id, ("", ""))[0] or user_id for user_id, name in zip(ids, sealed, strict=True)
    )
    emails = "; ".join(filter(None, (agent_names.get(user_id, ("", ""))[1] for user_id in ids)))
    gaps = [sentence(code) for code in _list(row.get("gap_reasons"))]
    if not row.get("duration_ms"):
        gaps.append(_from_its_times(row) or "No source states how long it is.")
    tags = {name: value or "" for name, value in row.items() if is_tag_column(name)}
    return {
        "control_number": control,
        "volume": volume,
        "conversation_id": row.get("conversation_id") or "",
        "recording_id": row.get("recording_id") or "",
        "date": local.strftime(DATE_FORMS[matter.form.date_form]) if local else "",
        "time": f"{local:%H:%M:%S}" if local else "",
        "time_zone": f"{matter.zone.key} ({local:%z})" if local else "",
        "direction": row.get("direction") or "",
        "caller_number": caller,
        "caller_name": agents if row.get("direction") == "outbound" else "",
        "called_number": called,
        "called_name": agents if row.get("direction") == "inbound" else "",
        "agent_names": agents,
        "agent_emails": emails,
        "agent_ids": "; ".join(ids),
        "queues": "; ".join(_list(row.get("queue_names")) or _list(row.get("queue_ids"))),
        "queue_ids": "; ".join(_list(row.get("queue_ids"))),
        "media": row.get("media_type") or "",
        "duration": duration(row.get("duration_ms")),
        **tags,
        "sha256": row.get("media_sha256") or "",
        "md5": row.get("media_md5") or "",
        "file_name": native.rpartition("/")[2],
        "native_path": native.replace("/", "\\"),
        "bytes": str(size),
        "custodian": matter.custodian,
        "status": row.get("custody_status") or "",
        "gaps": " ".join(gaps),
        "supersedes": supersedes or "",
        "row_sha256": row.get("row_sha256") or "",
    }


def _from_its_times(row: Mapping[str, str | None]) -> str:
    """The length of a recording whose sidecar states none; empty if its times do not tell it either."""
    start, end = _moment(row.get("recording_start")), _moment(row.get("recording_end"))
    if start is None or end is None or end <= start:
        return ""
    length = duration(str((end - start) // timedelta(milliseconds=1)))
    return f"No sidecar states how long it is; from its start to its end are {length}."


def sentence(code: str) -> str:
    """A gap reason in words."""
    return BY_CODE[code].sentence if code in BY_CODE else code


def can_be_had(codes: Iterable[str], until: datetime | None, now: datetime) -> str:
    """Whether the audio can still be recovered: yes, no, until or since when; empty if no reason is about the audio."""
    answers = {BY_CODE[code].recoverable for code in codes if code in OF_AUDIO}
    if "no" in answers or not answers:
        return "no" if answers else ""
    return f"{'until' if until > now else 'no, since'} {until:%Y-%m-%d %H:%M} UTC" if until else "yes"


def write_csv(path: Path, rows: Iterable[Mapping[str, str]], names: Sequence[str]) -> None:
    """CSV for programs, every value verbatim: UTF-8 with a byte order mark, so that spreadsheets read it as UTF-8."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def write_harmless_csv(path: Path, rows: Iterable[Mapping[str, str]], names: Sequence[str]) -> int:
    """CSV for people, with an apostrophe before what a spreadsheet could take for a formula. Returns the rows."""
    count = 0

    def counted() -> Iterator[Mapping[str, str]]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    with path.open("wb") as file:
        file.write(BYTE_ORDER_MARK)
        file.writelines(harmless_csv(_reader(counted(), names)))
    return count


def write_xlsx(path: Path, rows: Iterable[Mapping[str, str]], names: Sequence[str]) -> None:
    """The same table as a spreadsheet in which every cell is text: `007` stays `007`, and `=1+1` is no formula."""
    write_workbook(path, "index", _reader(rows, names))


def _reader(rows: Iterable[Mapping[str, str]], names: Sequence[str]) -> pa.RecordBatchReader:
    import pyarrow as pa

    schema, rest = pa.schema([(name, pa.string()) for name in names]), iter(rows)
    batches = (pa.RecordBatch.from_pylist(part, schema) for part in iter(lambda: list(islice(rest, _ROWS)), []))
    return pa.RecordBatchReader.from_batches(schema, batches)


def write_load_file(path: Path, rows: Iterable[Mapping[str, str]], names: Iterable[str]) -> None:
    """A Concordance load file: UTF-8 with a byte order mark, CRLF, þ around values, U+0014 between them, ® for breaks.

    The format has no escape, so a value's own þ becomes `th`, its ® `(R)`, and its U+0014 a space.
    """
    fields = LOAD_COLUMNS | {_load_field(name): name for name in names if is_tag_column(name)}
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        file.write(_load_line(fields))
        for row in rows:
            file.write(_load_line(row[source] for source in fields.values()))


def _load_field(column: str) -> str:
    """The load file's field of a tag: its column without `custom_data_`, unless a field of ours has that name."""
    short = column.removeprefix(TAG).upper()
    return column.upper() if short in LOAD_COLUMNS else short


def write_field_map(path: Path, names: Iterable[str]) -> None:
    """The meaning of each field of the load file, and its type of field in Relativity."""
    described = [
        {"load_field": name, "relativity_type": kind, "description": text}
        for name, (kind, text) in _LOAD_FIELDS.items()
    ]
    for name in filter(is_tag_column, names):
        described.append(
            {"load_field": _load_field(name), "relativity_type": "Long Text", "description": f"tag, column {name}"}
        )
    write_csv(path, described, ("load_field", "relativity_type", "description"))


def write_sec(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Metadata of audio from telephone recording systems with the SEC's field names."""
    write_csv(path, ({name: row[source] for name, source in _SEC_FIELDS.items()} for row in rows), tuple(_SEC_FIELDS))


def write_custody_log(folder: Path, events: Iterable[Mapping[str, Any]]) -> None:
    """Every custody event of the recordings, as CSV for people, JSON and JSON-LD (CASE/UCO), one part at a time."""
    with (folder / "custody-log.json").open("wb") as listed, CaseWriter(folder / "custody-log.jsonld") as case:

        def logged() -> Iterator[dict[str, str]]:
            before = b"["
            for event in events:
                row = _log_row(event)
                listed.write(before + b"\n" + orjson.dumps(row))
                before = b","
                case.add(row)
                yield row
            listed.write(b"\n]\n" if before == b"," else b"[]\n")

        write_harmless_csv(folder / "custody-log.csv", logged(), CUSTODY_LOG)


def _log_row(event: Mapping[str, Any]) -> dict[str, str]:
    """An event as texts, in the order of `CUSTODY_LOG`."""
    row = {name: value if isinstance(value := event[name], str) else _text(value) for name in _LOGGED}
    return row | dict(zip(_IN_TERMS, (_role(row), *_PHASES.get(row["action"], ("", ""))), strict=True))


def _role(row: Mapping[str, str]) -> str:
    """`vendor`, or a person's role: the text after the first comma of `Jane Roe, paralegal`, else `operator`.

    Without a person: `participant` (of the conversation, who set a tag), or `unknown`, as who deleted from a bucket.
    """
    if row["who"].startswith("Genesys"):
        return "vendor"
    name, _, role = row["operator"].partition(",")
    if name:
        return role.strip() or "operator"
    return "participant" if row["action"] == "tagged" else "unknown"


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value.isoformat(timespec='microseconds')}Z" if isinstance(value, datetime) else str(value)


def _load_line(values: Iterable[str]) -> str:
    return FIELD.join(f"{QUOTE}{load_value(value)}{QUOTE}" for value in values) + "\r\n"


def _list(text: str | None) -> list[str]:
    return [str(item) for item in orjson.loads(text)] if text and text != "[]" else []


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
