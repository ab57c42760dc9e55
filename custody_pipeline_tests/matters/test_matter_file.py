"""A matter file and its lists of ids, read or refused with the line."""

from __future__ import annotations

import hashlib
import re
import sys
from datetime import date, datetime
from pathlib import Path
from uuid import UUID
from zipfile import ZipFile

import openpyxl
import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.io.whole_file import DamagedFileError
from custody_pipeline.io.yaml_file import RefusedFileError
from custody_pipeline.matters.holds import read_holds
from custody_pipeline.matters.id_list import IdList, read_id_list
from custody_pipeline.matters.matter import TagCondition
from custody_pipeline.matters.matter_file import load_matter
from custody_pipeline.matters.register import Register, new_matter, open_matter
from custody_pipeline.operations.endings import ending_of
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline.warehouse.ledger import Actor

GOOD = """version: 1
title: Smith v. Acme
timezone: America/New_York
select:
  ids: {file: ids.csv, column: Conversation ID}
  from: 2026-11-01
  to: 2026-11-02
  numbers: ["+1 (555) 010-0123"]
  tags: [Matter-Number = 4711, Legal Hold is set, "a=b != c"]
  media: [call]
exclude:
  - {ids: [R1], reason: privilege}
production:
  prefix: ACME
"""


def write(folder: Path, text: str = GOOD) -> Path:
    (folder / "ids.csv").write_text("Agent,Conversation ID\nx,C1\n")
    (folder / "smith.yaml").write_text(text)
    return folder / "smith.yaml"


def test_a_matter_says_what_it_selects(tmp_path: Path) -> None:
    matter = load_matter(write(tmp_path))
    assert (matter.name, matter.selection.ids and matter.selection.ids.ids) == ("smith", ("c1",))
    assert matter.selection.tags == (
        TagCondition("Matter-Number", "=", "4711"),
        TagCondition("Legal Hold", "is set"),
        TagCondition("a", "=", "b != c"),
    )
    # The clocks go back on 2026-11-01: the first day begins at UTC-4, and the second ends at UTC-5.
    assert matter.window() == (datetime(2026, 11, 1, 4), datetime(2026, 11, 3, 5))
    assert matter.nights() == [date(2026, 11, 1), date(2026, 11, 2), date(2026, 11, 3)]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("title: Smith v. Acme\n", "", 1, "expected 'title:'"),
        ("America/New_York", "New York", 3, "expected a name such as America/New_York"),
        ("America/New_York", "../etc/passwd", 3, "no zone"),
        ("from: 2026-11-01", "from: 01.11.2026", 6, "expected YYYY-MM-DD"),
        ("to: 2026-11-02", "to: 2026-10-01", 7, "is before from"),
        ("to: 2026-11-02", "to: 9999-12-31", 7, "for an open end leave the line out"),
        ("title: Smith v. Acme", r'title: "half \ud83d"', 2, "half a character"),
        ("{file: ids.csv, column: Conversation ID}", r'{file: "ids\0.csv"}', 5, "a NUL"),
        ("numbers:", "callers:", 8, "unknown field 'callers'; accepted: agents, divisions, from"),
        ('"+1 (555) 010-0123"', "abc", 8, "is no number"),
        ("Legal Hold is set", "Legal Hold", 9, "expected 'Key = value'"),
        # Compared by its digits, each of these would be the number of every call without one.
        ('"+1 (555) 010-0123"', "sip:jane.roe@10.1.2.3", 8, "is no number"),
        ('"+1 (555) 010-0123"', "'000'", 8, "is no number"),
        ('"+1 (555) 010-0123"', "1-800-FLOWERS", 8, "is no number"),
        ("[call]", "[fax]", 10, "accepted: call, callback"),
        ("reason: privilege", "reason: secret", 12, "accepted: privilege, not_responsive, other"),
        ("reason: privilege", "reason: other", 12, "expected a 'note:'"),
        ("prefix: ACME", "prefix: ../x", 14, "expected capitals"),
        ("ids.csv, column: Conversation ID", "none.csv", 1, "cannot be read"),
        ("Conversation ID", "Conversation", 1, "no column 'Conversation'; there are Agent, Conversation ID"),
    ],
)
def test_a_wrong_matter_is_refused_with_its_line(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(RefusedFileError, match=message) as refused:
        load_matter(path)
    assert refused.value.line == line


def test_an_empty_selection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError, match="the selection is empty"):
        load_matter(write(tmp_path, "version: 1\ntitle: x\nselect: {}\n"))


@pytest.mark.parametrize(
    "data",
    [
        b"# a comment\nA1\n\n a1 \nB2\n",
        "\ufeffrecording_id;name\nA1;x\nB2;y\nA1;z\n".encode(),
        "Id\r\nA1\r\nB2\r\nA1\r\n".encode("utf-16"),
        "A1\nB2\nA1\n".encode("utf-16-be"),
        b'name\t"Conversation ID"\nx\tA1\ny\tB2\nx\ta1\n',
        b"id\rA1\rB2\rA1\r",
        b"conversation_id,recording_id\n,A1\n,B2\n,A1\n",
        b"#,Conversation ID\n1,A1\n2,B2\n3,A1\n",
        b'id,note\n# a, "comment\nA1,' + b"x" * 1_000_000 + b'\nB2,"two\nlines"\nA1,5" pipe\n',
    ],
    ids=[
        "text",
        "mark",
        "utf-16",
        "utf-16 without a mark",
        "tabs",
        "old line ends",
        "an empty column",
        "numbered",
        "notes",
    ],
)
def test_a_list_is_read_in_any_usual_form(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "ids").write_bytes(data)
    found = read_id_list(tmp_path / "ids")
    assert (found.ids, found.repeated) == (("a1", "b2"), 1)


def test_a_column_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["Name", "Recording Id"], ["x", "A1"], ["y", 7]):
        book.active.append(row)
    book.save(tmp_path / "ids.xlsx")
    assert read_id_list(tmp_path / "ids.xlsx").ids == ("a1", "7")
    with ZipFile(tmp_path / "ids.xlsx") as whole, ZipFile(tmp_path / "small.xlsx", "w") as small:
        for name in whole.namelist():  # programs other than Excel state a wrong size
            small.writestr(name, whole.read(name).replace(b'ref="A1:B3"', b'ref="A1:B2"'))
    assert read_id_list(tmp_path / "small.xlsx").ids == ("a1", "7")


def test_ids_in_another_sheet_are_not_left_out_silently(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append([str(UUID(int=1))])
    book.create_sheet("Notes").append(["call back"])
    book.save(tmp_path / "ids.xlsx")
    assert read_id_list(tmp_path / "ids.xlsx").ids == (str(UUID(int=1)),)
    book.create_sheet("Doe").append(["", str(UUID(int=2))])
    book.save(tmp_path / "ids.xlsx")
    with pytest.raises(RefusedFileError, match="ids in sheet 'Doe' too"):
        read_id_list(tmp_path / "ids.xlsx")


def test_a_spreadsheet_with_a_password_is_refused(tmp_path: Path) -> None:
    openpyxl.Workbook().save(tmp_path / "ids.xlsx")
    data = bytearray((tmp_path / "ids.xlsx").read_bytes())
    for at in (found.start() for found in re.finditer(rb"PK\x01\x02", data)):
        data[at + 8] |= 1
    (tmp_path / "ids.xlsx").write_bytes(data)
    with pytest.raises(RefusedFileError, match="no spreadsheet that can be read"):
        read_id_list(tmp_path / "ids.xlsx")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no id in it"),
        (b"# only\n", "no id in it"),
        (b"id\n", "no id in it"),
        (b"a\nb\xff\n", ":2: neither UTF-8 nor UTF-16"),
        (b"a\nb\x07\n", ":2: no id"),
        (b"PK\x03\x04 no spreadsheet", "no spreadsheet"),
        # Without a refusal, B2 would be a part of the note.
        (b'id,note\nA1,"a note\nB2,x\n', ':2: a cell begins with "'),
        (b'id,note\nA1,"a note\nB2,"another\n', ':2: a cell begins with "'),
        (f"No.,Call reference\n1,{UUID(int=1)}\n".encode(), ":1: no id in the first column; .*: Call reference$"),
        # A part of the ids would be left out.
        (f"{UUID(int=1)},{UUID(int=2)}\n".encode(), ":1: ids in several columns; write one id a line"),
        (f"{UUID(int=1)}\n{UUID(int=2)},{UUID(int=3)}\n".encode(), ":1: ids in several columns"),
        (f"Call,Agent\n{UUID(int=1)},{UUID(int=2)}\n".encode(), ":1: .*: Call or Agent$"),
        (f"conversation_id,leg\nA1,\n,{UUID(int=1)}\n".encode(), ":3: no id in the column of the ids"),
        (f"ticket,id\n7,A1\n#8,{UUID(int=1)}\n".encode(), ":3: a line that begins with # is a comment"),
        # All recordings of A1, or R1 alone?
        (b"Conversation ID,Recording ID\nA1,R1\n", ":1: ids in several columns; .*: Conversation ID or Recording ID$"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "ids").write_bytes(data)
    with pytest.raises(RefusedFileError, match=message):
        read_id_list(tmp_path / "ids")


def test_a_new_matter_can_be_read_and_is_not_written_twice(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    new_matter(settings, "smith-2026", 'Smith "v." Acme', "007", {"tags": ["A = 'b'"]})
    matter = open_matter(settings, "smith-2026")
    assert (matter.title, matter.number, matter.form.prefix) == ('Smith "v." Acme', "007", "SMITH2026")
    assert matter.selection.tags == (TagCondition("A", "=", "'b'"),)
    with pytest.raises(SettingsError, match="is there already"):
        new_matter(settings, "smith-2026", "", "", {})
    with pytest.raises(RefusedFileError, match="expected YYYY-MM-DD"):
        new_matter(settings, "other", "", "", {"from": "yesterday"})
    assert [path.name for path in (tmp_path / "matters").iterdir()] == ["smith-2026.yaml"]
    for name in ("../x", "a/b", "", "A", ".."):
        with pytest.raises(SettingsError, match="no path"):
            new_matter(settings, name, "", "", {})
    with pytest.raises(SettingsError, match="custody matter list"):
        open_matter(settings, "nobody")


def test_a_new_matter_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
    given = ["matter", "new", "smith", "--title", "J\udcf6rg"]
    monkeypatch.setattr(sys, "argv", ["custody", *given])
    told = CliRunner().invoke(app, given)
    assert isinstance(told.exception, UnicodeEncodeError)
    assert ending_of(told.exception) == (
        r"not UTF-8, so it cannot be written down: J\udcf6rg; name it in UTF-8", 64
    )  # fmt: skip
    assert list((tmp_path / "matters").iterdir()) == []


def test_a_new_matter_keeps_the_list_that_it_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path / "home"))
    (tmp_path / "request.csv").write_text("id\nA1\n")
    given = ["matter", "new", "smith", "--ids", str(tmp_path / "request.csv")]
    assert CliRunner().invoke(app, given).exit_code == 0
    for name, told in (("2027-smith", "numbers of smith begin"), ("roe", "")):
        made = CliRunner().invoke(app, ["matter", "new", name])
        assert (made.exit_code, told in made.stderr, "same prefix" in made.stderr) == (0, True, bool(told))
        (tmp_path / f"home/matters/{name}.yaml").unlink()
    (tmp_path / "request.csv").unlink()
    sha256 = hashlib.sha256(b"id\nA1\n").hexdigest()
    kept = open_matter(Settings(home=tmp_path / "home"), "smith")
    assert kept.selection.ids == IdList(("a1",), 0, "request.csv", sha256)
    (tmp_path / "home" / "matters" / "smith" / "request.csv").write_text("id\nA1\n# one more line\n")
    changed = open_matter(Settings(home=tmp_path / "home"), "smith")
    assert (changed.sha256 == kept.sha256, changed.state_sha256 == kept.state_sha256) == (True, False)
    (tmp_path / "home" / "matters" / "smith" / "request.csv").unlink()
    listed = CliRunner().invoke(app, ["matter", "list"])
    assert (listed.exit_code, "smith: " in listed.stderr, r"\n" in listed.stderr) == (2, True, False)
    # Neither the list of an earlier matter nor a file of the matter itself is written over.
    (tmp_path / "home" / "matters" / "smith" / "request.csv").write_text("id\nA1\n")
    (tmp_path / "home" / "matters" / "smith.yaml").unlink()
    for name in ("request.csv", "holds.json"):
        (tmp_path / name).write_text("id\nB2\n")
        given = ["matter", "new", "smith", "--ids", str(tmp_path / name), "--from", "yesterday"]
        assert "rename the list" in str(CliRunner().invoke(app, given).exception)
    assert [path.name for path in (tmp_path / "home" / "matters" / "smith").iterdir()] == ["request.csv"]
    assert "A1" in (tmp_path / "home" / "matters" / "smith" / "request.csv").read_text()


def test_no_event_of_a_matter_is_lost_by_its_text_or_by_a_line_that_was_cut_off(tmp_path: Path) -> None:
    register, actor = Register(tmp_path), Actor("Jörg", "0.1.0", None)
    register.note(actor, "handed VOL001 to Roe\u2028LLP\x85")
    with (tmp_path / "events.ndjson").open("ab") as file:
        file.write('{"operator": "Jö'.encode()[:-1])
    register.note(actor, "produced VOL002")
    assert [event["what"] for event in register.events()] == ["handed VOL001 to Roe\u2028LLP\x85", "produced VOL002"]


def test_a_damaged_register_is_named(tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    for name, read in (("holds.json", read_holds), ("volumes/VOL001.json", lambda register: next(register.volumes()))):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DamagedFileError, match=f"{name} is not as it was written"):
            read(Register(tmp_path))
