"""The tables of a production against the proven records: index.csv, index.xlsx and loadfile.dat.

Belongs here: which of their columns repeat a record, and the comparison. Does not: who signed them (signed_volume.py),
writing them (matters/production_tables.py).

The check compares the shown fields of each record, and the names and digests of the package's files. It does not
compare names of agents, the custodian, the reasons in words, the volume and what a line supersedes: these are the
producer's words.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO

import msgspec
import orjson
import pyarrow as pa
import pyarrow.csv as pacsv

from custody_pipeline.evidence.cut.proof import PROOF_SUFFIX
from custody_pipeline.evidence.package.layout import RECORDS
from custody_pipeline.evidence.reader import Entry
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.cut_renderings import not_the_workbook
from custody_pipeline.evidence.verify.sealed_table import UNREADABLE

EVIDENCE = "evidence/"
INDEX, WORKBOOK, LOAD_FILE = "index.csv", "index.xlsx", "loadfile.dat"
# Concordance's default delimiters.
FIELD, QUOTE, LINE_BREAK = "\x14", "\xfe", "\xae"
LOAD_COLUMNS = {
    "BEGDOC": "control_number", "ENDDOC": "control_number", "VOLUME": "volume", "CUSTODIAN": "custodian",
    "FILENAME": "file_name", "NATIVEPATH": "native_path", "FILESIZE": "bytes", "MD5HASH": "md5",
    "SHA256HASH": "sha256", "DATESENT": "date", "TIMESENT": "time", "TIMEZONE": "time_zone", "DURATION": "duration",
    "DIRECTION": "direction", "CALLER": "caller_number", "CALLED": "called_number", "AGENT": "agent_names",
    "AGENTEMAIL": "agent_emails", "AGENTID": "agent_ids", "QUEUE": "queues", "QUEUEID": "queue_ids",
    "MEDIATYPE": "media", "CONVERSATIONID": "conversation_id", "RECORDINGID": "recording_id", "GAPS": "gaps",
    "SUPERSEDES": "supersedes",
}  # fmt: skip
"""Field of the load file → column of the index."""

TAG = "custom_data_"
_NO_TAGS = ("custom_data_state", "custom_data_source", "custom_data_captured_at")
_KEYS = ("control_number", "conversation_id", "recording_id", "sha256")
_AUDIO = EVIDENCE + "data/audio/"
# Column of the index → column of the record that it repeats.
_REPEATED = {
    "conversation_id": "conversation_id", "recording_id": "recording_id", "sha256": "media_sha256",
    "md5": "media_md5", "direction": "direction", "caller_number": "ani", "called_number": "dnis",
    "media": "media_type", "status": "custody_status", "row_sha256": "row_sha256",
}  # fmt: skip
_DATES = ("%Y-%m-%d", "%m/%d/%Y", "%d/%m/%Y", "%Y%m%d")
_ZONE = re.compile(r".*\(([+-])(\d\d)(\d\d)\)", re.ASCII)
_NOT_PLAIN = re.compile(f"[{QUOTE}{LINE_BREAK}{FIELD}\r\n]")
_HEADER_BYTES = 1 << 16

_Line = Mapping[str, str]


def load_value(value: str) -> str:
    """A value as in a load file: the format has no escape, so its delimiters are replaced in values."""
    if not _NOT_PLAIN.search(value):
        return value
    plain = value.replace(QUOTE, "th").replace(LINE_BREAK, "(R)").replace(FIELD, " ")
    return plain.replace("\r\n", LINE_BREAK).replace("\n", LINE_BREAK).replace("\r", LINE_BREAK)


def duration(milliseconds: str | None) -> str:
    """A duration as the tables have it: `hh:mm:ss`, rounded; empty if it is not known."""
    if not milliseconds:
        return ""
    seconds = round(int(milliseconds) / 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def check_tables(context: Context, package: Context, entries: Mapping[str, Entry], as_signed: set[str]) -> None:
    """Compare the tables that are as they were signed; a finding for each that contradicts a record or another table.

    Args:
        package: the context of the package inside, which was found in order.
        as_signed: the files of the production whose digests are as signed.
    """
    index: pa.Table = None
    for path in (INDEX, WORKBOOK, LOAD_FILE):
        if path not in as_signed or (path == WORKBOOK and index is None):
            continue
        data = context.read(path, "FILE_MISSING", entries[path].size)
        try:
            if data is None:
                problem = None
            elif path == WORKBOOK:
                problem = not_the_workbook("index", BytesIO(data), index.column_names, index.to_batches())
            elif path == INDEX:
                index = _index(data)
                problem = _problem(package, _lines_of(index), entries)
            elif index is None:
                problem = _problem(package, _load_lines(data), entries, as_loaded=True)
            else:
                problem = next(_other_lines(_lines_of(index), _load_lines(data)), None)
        except (*UNREADABLE, csv.Error, TypeError, OverflowError, RecursionError) as error:
            problem = f"it cannot be read: {type(error).__name__}"
        if problem is not None:
            context.report.add("PACKAGE_INCONSISTENT", path, problem)


def _index(data: bytes) -> pa.Table:
    """The index as texts. Arrow is given the names of the columns: a header alone could make it allocate any number."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    names = next(csv.reader(StringIO(data[:_HEADER_BYTES].decode(errors="replace"), newline="")), [])
    if len(set(names)) != len(names) or not set(_KEYS) <= set(names):
        raise ValueError("columns")
    table = pacsv.read_csv(
        BytesIO(data),
        pacsv.ReadOptions(use_threads=False, block_size=len(data), column_names=names),
        pacsv.ParseOptions(newlines_in_values=True),
        pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=False),
    )
    if [column[0].as_py() for column in table.columns] != names:
        raise ValueError("header")
    return table.slice(1)


def _lines_of(table: pa.Table) -> list[_Line]:
    names = table.column_names
    values = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return [dict(zip(names, line, strict=True)) for line in values]


def _load_lines(data: bytes) -> list[_Line]:
    """The lines of a load file. Values have another character in place of line breaks."""
    lines = [line[1:-1].split(f"{QUOTE}{FIELD}{QUOTE}") for line in data.decode("utf-8-sig").split("\r\n")[:-1]]
    names = [_column_of(field) for field in lines[0]] if lines else []
    if not set(_KEYS) <= set(names) or any(len(line) != len(names) for line in lines):
        raise ValueError("fields")
    told: list[_Line] = [dict(zip(names, line, strict=True)) for line in lines[1:]]
    # BEGDOC and ENDDOC are one column.
    if any([line[name] for name in names] != values for line, values in zip(told, lines[1:], strict=True)):
        raise ValueError("a field that is there twice")
    return told


def _column_of(field: str) -> str:
    """A tag has its column's name without `custom_data_`, or with it where a field of ours has the other name."""
    tag = field.lower()
    return LOAD_COLUMNS.get(field, tag if tag.removeprefix(TAG).upper() in LOAD_COLUMNS else TAG + tag)


def _other_lines(lines: Sequence[_Line], loaded: Sequence[_Line]) -> Iterator[str]:
    """Lines that differ between index and load file, or that only one of them has."""
    names = {name for line in lines[:1] for name in line} & {name for line in loaded[:1] for name in line}
    ours = {line["control_number"]: {name: load_value(line[name]) for name in names} for line in lines}
    theirs = {line["control_number"]: {name: line[name] for name in names} for line in loaded}
    if len(theirs) != len(loaded):
        yield "a control number has two lines"
    for number in sorted(ours.keys() | theirs.keys()):
        if ours.get(number) != theirs.get(number):
            yield f"the line of {number} contradicts {INDEX}"


@dataclass(frozen=True)
class _Said:
    """The expected content of a line. `whole`: no field of the record is withheld; `moment`: start of the recording."""

    columns: Mapping[str, str]
    whole: bool
    moment: str | None


def _problem(
    package: Context, lines: Sequence[_Line], entries: Mapping[str, Entry], *, as_loaded: bool = False
) -> str | None:
    """Each line repeats its record; each record with audio here has one line."""
    expected = dict(_expected(package, entries))
    by_number = {line["control_number"]: line for line in lines}
    if len(by_number) != len(lines):
        return "a control number has two lines"
    form = load_value if as_loaded else str
    for number in sorted(by_number.keys() | expected.keys()):
        line, said = by_number.get(number), expected.get(number)
        if line is None or said is None or not _says(line, said, form):
            return f"the line of {number} contradicts the record"
    return None


def _says(line: _Line, said: _Said, form: Callable[[str], str]) -> bool:
    known = {name: "" for name in line if said.whole and name.startswith(TAG) and name not in _NO_TAGS}
    known.update(said.columns)
    return all(line[name] == form(value) for name, value in known.items() if name in line) and _is_then(line, said)


def _expected(package: Context, entries: Mapping[str, Entry]) -> Iterator[tuple[str, _Said]]:
    """Control number → expected content of its line, for the records with audio."""
    audio = {path.rpartition(".")[0].rpartition("/")[2]: path for path in entries if path.startswith(_AUDIO)}
    for name, native in audio.items():
        path = f"{RECORDS}{name}.json"
        entry = entries.get(EVIDENCE + path)
        data = package.read(path, "FILE_MISSING", entry.size) if entry else None
        row = msgspec.json.decode(data or b"{}", type=dict[str, str | None])
        said = {column: row[source] or "" for column, source in _REPEATED.items() if source in row}
        said |= {column: value or "" for column, value in row.items() if column.startswith(TAG)}
        lists = {"agent_ids": "user_ids", "queue_ids": "queue_ids"}
        said |= {column: "; ".join(_list(row[source])) for column, source in lists.items() if source in row}
        if {"queue_names", "queue_ids"} <= row.keys():
            said["queues"] = "; ".join(_list(row["queue_names"]) or _list(row["queue_ids"]))
        said |= {"duration": duration(row["duration_ms"])} if "duration_ms" in row else {}
        said |= {"bytes": str(entries[native].size), "file_name": native.rpartition("/")[2]}
        said["native_path"] = native.replace("/", "\\")
        columns = {column: value for column, value in said.items() if column not in _NO_TAGS}
        whole = f"{EVIDENCE}{RECORDS}{name}{PROOF_SUFFIX}" in entries
        yield name, _Said(columns, whole, row.get("recording_start") or row.get("conversation_start"))


def _is_then(line: _Line, said: _Said) -> bool:
    """Whether date and time are the record's, at the offset from UTC that the line names."""
    if said.moment is None or not {"date", "time", "time_zone"} <= line.keys():
        return True
    moment, zone = datetime.fromisoformat(said.moment), _ZONE.fullmatch(line["time_zone"])
    if zone is None:
        return False
    offset = timedelta(hours=int(zone[2]), minutes=int(zone[3])) * (-1 if zone[1] == "-" else 1)
    local = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC) + offset
    return line["time"] == f"{local:%H:%M:%S}" and any(line["date"] == local.strftime(form) for form in _DATES)


def _list(text: str | None) -> list[str]:
    return [str(item) for item in orjson.loads(text)] if text else []
