"""What goes into a workbook comes out as it went in, in other programs too; what a cell cannot hold is named."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import subprocess
import zipfile
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from custody_pipeline.evidence.cut import workbook
from custody_pipeline.evidence.cut.workbook import Note, write_workbook
from custody_pipeline.evidence.cut.workbook_cells import MAX_TEXT

if TYPE_CHECKING:
    from pathlib import Path

TIME = datetime.fromisoformat("2026-11-02 08:30:01.25")
TEXTS = [
    "007", "1.10", "9" * 23, "=1+1", "@x", "-", "1e5", "TRUE", " a ", "a\nb", "a\tb", "x" * MAX_TEXT, "日本語 🎧",
    "2026-11-02", "'", "", "<b>&amp;", "_x0041_", "_x", "a,b;c", 'say "x"', "＝1",
]  # fmt: skip


def written(folder: Path, **columns: Any) -> tuple[Any, list[Note]]:
    """The workbook of some columns as another reader has it, and the notes."""
    path = folder / "rows.xlsx"
    notes = write_workbook(path, "rows", pa.table(columns).to_reader())
    return openpyxl.load_workbook(path), notes


def decoded(text: str | None) -> str | None:
    """A text as the format defines it (ST_Xstring): openpyxl leaves escapes as they are."""
    return text and re.sub("_x([0-9A-F]{4})_", lambda found: chr(int(found[1], 16)), text)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.none()
        | st.sampled_from(TEXTS)
        | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=9),
        min_size=1,
        max_size=5,
    )
)
@example([*TEXTS, None, "a\r\nb", "_x000D_", "_x0041_x0042_", "_x0041\r", "__x0041_"])
def test_text_stays_text(tmp_path: Path, texts: list[str | None]) -> None:
    book, notes = written(tmp_path, a=pa.array(texts, pa.string()))
    cells = [row[0] for row in book["rows"].iter_rows(min_row=2)]
    assert [decoded(cell.value) for cell in cells] == texts
    # "inlineStr": another type, or a formula, would be read as a number, a date or its result.
    assert {cell.data_type for cell in cells if cell.value is not None} <= {"s", "inlineStr"}
    assert {cell.number_format for cell in cells if cell.value is not None} <= {"@"}
    assert (notes, book.sheetnames) == ([], ["rows"])


def test_numbers_times_and_lists_are_what_they_are(tmp_path: Path) -> None:
    book, _ = written(
        tmp_path,
        n=[12, 10**15, -(10**15) + 1, None],
        t=pa.array([TIME, None, datetime.fromisoformat("1899-12-30"), TIME.replace(year=1970)], pa.timestamp("us")),
        z=pa.array([TIME] * 4, pa.timestamp("us", "UTC")),
        d=[date(2026, 11, 2), date(1900, 2, 28), date(9999, 12, 31), None],
        l=[["a", None], [], None, ["b"]],
        b=[True, False, None, True],
        nothing=pa.nulls(4),
    )
    day = datetime.fromisoformat
    assert list(book["rows"].iter_rows(min_row=2, values_only=True)) == [
        (12, TIME, TIME, day("2026-11-02"), '["a",null]', True, None),
        ("1000000000000000", None, TIME, "1900-02-28", "[]", False, None),
        (-(10**15) + 1, "1899-12-30T00:00:00.000000Z", TIME, day("9999-12-31"), None, None, None),
        (None, TIME.replace(year=1970), TIME, None, '["b"]', True, None),
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.datetimes(datetime.fromisoformat("1900-03-01"), datetime.fromisoformat("9999-12-30")), min_size=1))
@example([datetime.fromisoformat("2199-01-10T00:14:45.047054"), datetime.fromisoformat("2000-01-01")])
def test_a_time_is_that_time_to_the_millisecond(tmp_path: Path, times: list[datetime]) -> None:
    book, _ = written(tmp_path, t=pa.array(times, pa.timestamp("us")))
    found = [row[0] for row in book["rows"].iter_rows(min_row=2, values_only=True)]
    assert all(abs(one - other) < timedelta(milliseconds=1) for one, other in zip(found, times, strict=True))


def test_what_was_written_once_is_written_so_for_ever(tmp_path: Path) -> None:
    """A sealed workbook is verified by making it again. Another library must make the same of the same rows."""
    rows = pa.table(
        {
            "text": ["007", "_x0041_x0042_", "a\r\n<b>", None],
            "number": [1, -(10**15), 10**15, None],
            "time": pa.array([TIME, TIME.replace(year=2199, microsecond=47_054), None, TIME], pa.timestamp("us")),
            "day": [date(2026, 11, 2), date(1900, 2, 28), None, date(9999, 12, 31)],
            "yes": [True, None, False, True],
            "list": [["a", None], [], None, ["\x00"]],
        }
    )
    write_workbook(tmp_path / "rows.xlsx", "rows", rows.to_reader())
    with zipfile.ZipFile(tmp_path / "rows.xlsx") as book:
        parts = {name: hashlib.sha256(book.read(name)).hexdigest()[:16] for name in sorted(book.namelist())}
    assert parts == {
        "[Content_Types].xml": "e47be7e5bd621115",
        "_rels/.rels": "9f96bb683e71c451",
        "xl/_rels/workbook.xml.rels": "1b2fc82d18a622c8",
        "xl/styles.xml": "9b03189b303d2194",
        "xl/workbook.xml": "0fb0d0511640a2f3",
        "xl/worksheets/sheet1.xml": "5b38179ebcb99bc5",
    }


def test_what_a_cell_cannot_hold_is_changed_and_named(tmp_path: Path) -> None:
    book, notes = written(tmp_path, a=["a\x00b\x1f\ufffe", "x"], b=["ok", "🎧" * MAX_TEXT])
    rows = list(book["rows"].iter_rows(min_row=2, values_only=True))
    assert rows[0] == ("a\ufffdb\ufffd\ufffd", "ok")
    assert rows[1] == ("x", "🎧" * (MAX_TEXT // 2))
    assert notes == [
        Note("rows", 2, "a", "U+0000, U+001F, U+FFFE shown as U+FFFD"),
        Note("rows", 3, "b", "cut at 32,767 of 65,534 characters"),
    ]
    told = list(book["changed cells"].iter_rows(values_only=True))
    assert told[1] == ("rows", "2", "a", "U+0000, U+001F, U+FFFE shown as U+FFFD")


@pytest.mark.parametrize(("limit", "value"), [("MAX_ROWS", 3), ("MAX_BYTES", 700)])
def test_a_full_sheet_is_followed_by_another_whatever_the_batches_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(workbook, limit, value)
    texts = ["one", "two", "three\x00", "four", "five"]
    book, notes = written(tmp_path, a=texts)
    sheets = [[row[0] for row in book[name].iter_rows(values_only=True)] for name in book.sheetnames[:-1]]
    assert len(sheets) > 1
    assert {sheet[0] for sheet in sheets} == {"a"}
    assert [text for sheet in sheets for text in sheet[1:]] == ["one", "two", "three\ufffd", "four", "five"]
    (note,) = notes
    assert book[note.sheet].cell(note.row, 1).value == "three\ufffd"
    data = (tmp_path / "rows.xlsx").read_bytes()
    monkeypatch.setattr(workbook, "_ROWS_AT_ONCE", 2)
    written(tmp_path, a=texts)
    assert (tmp_path / "rows.xlsx").read_bytes() == data


def test_libreoffice_reads_what_was_written(tmp_path: Path) -> None:
    office = shutil.which("soffice") or shutil.which("libreoffice")
    if office is None:
        pytest.skip("needs LibreOffice: apt-get install libreoffice-calc-nogui")
    texts = [text for text in TEXTS if text] + ["two\r\nlines"]
    columns = {"a": texts, "n": [7] * len(texts), "t": pa.array([TIME] * len(texts), pa.timestamp("us"))}
    written(tmp_path, **columns)
    # 44: commas; 34: quotes; 76: UTF-8; text cells quoted, cells as they are shown.
    form = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,true,true,false"
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    done = subprocess.run(
        [office, profile, "--headless", "--convert-to", form, "--outdir", tmp_path, tmp_path / "rows.xlsx"],
        capture_output=True, timeout=300, check=True,
    )  # fmt: skip
    shown = (tmp_path / "rows.csv").read_text(encoding="utf-8")
    read = list(csv.reader(shown.splitlines(keepends=True), strict=True))
    # LibreOffice shows each kind of line break as its own.
    expected = [[text.replace("\r\n", "\n"), "7", "2026-11-02 08:30:01.250"] for text in texts]
    assert read[1:] == expected, done
    # Numbers have no quotes, text cells do: 007 is no number there.
    assert '"007",7,' in shown


def test_the_file_has_no_time_of_its_own(tmp_path: Path) -> None:
    written(tmp_path, a=["x"])
    with zipfile.ZipFile(tmp_path / "rows.xlsx") as file:
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
