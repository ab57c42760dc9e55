"""A production: files for a review platform, verification by the other side, and interrupted productions."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock
from uuid import UUID

import docx
import duckdb
import msgspec
import openpyxl
import pypdfium2
import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.cli.matter_page import _selection
from custody_pipeline.evidence.log.keys import signer_from_file
from custody_pipeline.evidence.log.note import sign
from custody_pipeline.evidence.package.signed_volume import list_production, sign_production
from custody_pipeline.evidence.package.volume_tables import LOAD_COLUMNS, _load_lines
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.extract.export_objects import Digests
from custody_pipeline.fleet.overview import record_acts
from custody_pipeline.io.s3 import S3Location, s3_client
from custody_pipeline.matters import production_tables, volume_writer
from custody_pipeline.matters.listening import write_listening_copies
from custody_pipeline.matters.masking import WITHHELD
from custody_pipeline.matters.page_formats import pdf_of, write_documents
from custody_pipeline.matters.pages import certificate_html, matter_html
from custody_pipeline.matters.register import MatterStateError, Produced, Volume, register_of
from custody_pipeline.matters.selection import Found, Recordings
from custody_pipeline.matters.standing import Standing, standing
from custody_pipeline.matters.volume_lines import Spool, SpooledLine
from custody_pipeline.matters.volume_writer import ProducedVolume, VolumeWriter
from custody_pipeline.operations.verification import BucketMedia, verify_target
from custody_pipeline.simulator.audio import screen_webm, ulaw_wav
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.ledger import Act, Actor
from custody_pipeline_tests.evidence.published import OTHER
from custody_pipeline_tests.matters import test_found_recordings
from custody_pipeline_tests.matters.conftest import NIGHT, Published

pytestmark = pytest.mark.server

FORM = """number: "007"
custodian: "Acme þ"
production: {fields: sec, prefix: ACME, listening: wav, conversations: as_received}
exclude:
  - {ids: [%s], reason: privilege}
"""


def produce(night: Published, name: str, to: Path) -> list[ProducedVolume]:
    matter, register = production_of(night, name)
    found = standing(night.settings, matter, register)
    return volume_writer.produce(night.settings, "s3://dataset", matter, register, found, to, Actor.of(night.settings))


def production_of(night: Published, name: str) -> tuple[Any, Any]:
    excluded = night.whole()[0]["recording_id"]
    matter = night.matter(name, "  where: 1 = 1", FORM % excluded)
    return matter, register_of(night.settings, name)


def verify(night: Published, folder: Path) -> Report:
    keys = sorted((night.settings.home / "keys").glob("*.pub"))
    return verify_target(night.settings, str(folder), keys=keys)


PARALEGAL = "Ruth Ng, paralegal"


@pytest.fixture(scope="module")
def volume(night: Published, tmp_path_factory: pytest.TempPathFactory) -> ProducedVolume:
    """Of recordings one of which was held after the night ran."""
    held = {name: night.whole()[1][name] for name in ("conversation_id", "recording_id")}
    act = Act(NIGHT, "held", what="the recording", why="matter 9: Roe v. Acme", how="vendor", **held)
    record_acts(night.settings, replace(Actor.of(night.settings), operator=PARALEGAL), [act])
    (made,) = produce(night, "acme", tmp_path_factory.mktemp("productions"))
    return made


def index(volume: Path) -> list[dict[str, str]]:
    with (volume / "index.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_audio_under_its_control_number_is_what_was_exported(night: Published, volume: ProducedVolume) -> None:
    client = s3_client(night.settings)
    by_id = {row["recording_id"]: row for row in night.whole()[1:]}
    lines = index(volume.folder)
    assert {line["recording_id"] for line in lines} == set(by_id)
    for line in lines:
        at = S3Location.parse(by_id[line["recording_id"]]["object_uri"])
        data = (volume.folder / line["native_path"].replace("\\", "/")).read_bytes()
        assert data == client.get_object(Bucket=at.bucket, Key=at.key)["Body"].read()
        assert (line["sha256"], line["md5"]) == (hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest())  # noqa: S324
        assert all("@example.com" in email for email in line["agent_emails"].split("; "))
        assert (line["file_name"].partition(".")[0], line["bytes"]) == (line["control_number"], str(len(data)))


def test_the_load_file_and_the_spreadsheet_say_what_the_index_says(volume: ProducedVolume) -> None:
    lines = index(volume.folder)
    raw = (volume.folder / "loadfile.dat").read_bytes()
    assert (raw[:5], raw.count(b"\r\n")) == (b"\xef\xbb\xbf\xc3\xbe", len(lines) + 1)
    # Python's CSV reader knows nothing of ours: it is told Concordance's two delimiters.
    with (volume.folder / "loadfile.dat").open(encoding="utf-8-sig", newline="") as file:
        loaded = list(csv.DictReader(file, delimiter="\x14", quotechar="\xfe", doublequote=False, strict=True))
    assert [(row["BEGDOC"], row["SHA256HASH"], row["CALLER"], row["GAPS"]) for row in loaded] == [
        (line["control_number"], line["sha256"], line["caller_number"], line["gaps"]) for line in lines
    ]
    assert {row["CUSTODIAN"] for row in loaded} == {"Acme th"}
    assert {(volume.folder / row["NATIVEPATH"].replace("\\", "/")).stat().st_size for row in loaded} == {
        int(row["FILESIZE"]) for row in loaded
    }
    (sheet,) = openpyxl.load_workbook(volume.folder / "index.xlsx").worksheets
    cells = [["" if cell.value is None else cell.value for cell in row] for row in sheet.iter_rows()]
    assert cells == [list(lines[0]), *(list(line.values()) for line in lines)]
    assert {cell.number_format for row in sheet.iter_rows() for cell in row} == {"@"}
    with (volume.folder / "audio-metadata.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["Filename"] for row in csv.DictReader(file)] == [line["file_name"] for line in lines]


def test_tables_for_people_hold_no_formula_and_tables_for_programs_no_apostrophe(tmp_path: Path) -> None:
    row = {"what": '=HYPERLINK("http://evil")', "why": "@SUM(1)", "explanation": "Plain, with a\nbreak.", "proof": ""}
    event = dict.fromkeys(production_tables.CUSTODY_LOG, "-1") | {"operator": "+1 555 010 0123", "action": "tagged"}
    assert production_tables.write_harmless_csv(tmp_path / "exceptions.csv", [row, row], list(row)) == 2
    production_tables.write_custody_log(tmp_path, [event] * 101)
    production_tables.write_csv(tmp_path / "index.csv", [row], list(row))
    found = {}
    for path in tmp_path.glob("*.csv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            found[path.stem] = list(csv.DictReader(file))
    assert found["index"] == [row]
    assert found["exceptions"] == [row | {"what": f"'{row['what']}", "why": "'@SUM(1)"}] * 2
    logged = json.loads((tmp_path / "custody-log.json").read_text())
    assert len(logged) == len(found["custody-log"]) == 101
    assert {(line["what"], line["operator"], line["action"]) for line in found["custody-log"]} == {
        ("'-1", "'+1 555 010 0123", "tagged")
    }
    assert (logged[0]["what"], logged[0]["operator"]) == ("-1", "+1 555 010 0123")


def test_a_tag_of_the_name_of_a_field_takes_no_fields_place(tmp_path: Path) -> None:
    names = [*LOAD_COLUMNS.values(), "custom_data_agent", "custom_data_custodian", "custom_data_matter"]
    row = {name: f"of {name}" for name in names}
    production_tables.write_load_file(tmp_path / "loadfile.dat", [row], names)
    production_tables.write_field_map(tmp_path / "field-map.csv", names)
    assert _load_lines((tmp_path / "loadfile.dat").read_bytes()) == [row]
    fields = [line.partition(",")[0] for line in (tmp_path / "field-map.csv").read_text("utf-8-sig").splitlines()]
    assert fields[-3:] == ["CUSTOM_DATA_AGENT", "CUSTOM_DATA_CUSTODIAN", "MATTER"]
    assert len(set(fields)) == len(fields)


def test_a_listening_copy_plays_everywhere_and_says_of_what_and_by_what_it_was_made(
    night: Published, volume: ProducedVolume
) -> None:
    with (volume.folder / "listening-copies.csv").open(encoding="utf-8-sig", newline="") as file:
        copies = list(csv.DictReader(file))
    sealed = {line["control_number"]: line["sha256"] for line in index(volume.folder)}
    assert {row["control_number"]: row["source_sha256"] for row in copies} == sealed
    made = [row for row in copies if row["file"]]
    assert {Path(row["source"]).suffix for row in made} >= {".opus"}
    for row in made:
        # The standard library knows neither Opus nor FFmpeg.
        with wave.open(str(volume.folder / row["file"])) as sound:
            assert (sound.getsampwidth(), sound.getnframes() / sound.getframerate() > 0.2) == (2, True)
            assert len(set(sound.readframes(2000))) > 10, "not silence"
        assert hashlib.sha256((volume.folder / row["file"]).read_bytes()).hexdigest() == row["sha256"]
        assert row["tool"].startswith("PyAV ")
    assert all(row["why_not"] for row in copies if not row["file"])
    with Warehouse(night.settings).open(read_only=True) as con:
        events = con.execute(
            "SELECT sha256_before, sha256_after, how FROM raw.acts "
            "WHERE what = 'listening copy, derived' AND where_at = ?",
            [made[0]["file"]],
        ).fetchall()
    assert (made[0]["source_sha256"], made[0]["sha256"], made[0]["tool"]) in events


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_what_cannot_be_played_has_no_copy_and_the_reason(tmp_path: Path, kind: str) -> None:
    sources = {"A1": tmp_path / "A1.opus", "A2": tmp_path / "A2.webm", "A3": tmp_path / "A3.wav"}
    for control, data in (("A1", b"not audio"), ("A2", screen_webm("r2")), ("A3", ulaw_wav("r3"))):
        sources[control].write_bytes(data)
    write_listening_copies(tmp_path, ((name, path, "0" * 64) for name, path in sources.items()), kind)
    with (tmp_path / "listening-copies.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["why_not"].partition(":")[0]) for row in rows] == [
        ("", "it cannot be decoded"), ("", "no audio in it"), (f"listening/A3.{kind}", "")
    ]  # fmt: skip
    assert [path.name for path in (tmp_path / "listening").iterdir()] == [f"A3.{kind}"]


def test_a_conversations_document_is_what_its_record_says(volume: ProducedVolume) -> None:
    documents = {path.stem: path.read_bytes() for path in (volume.folder / "conversations").iterdir()}
    for control, data in documents.items():
        record = json.loads((volume.folder / f"evidence/data/records/{control}.json").read_bytes())
        assert hashlib.sha256(data).hexdigest() == record["conversation_sha256"]
        assert "participants" in json.loads(data)
    assert documents.keys() == {line["control_number"] for line in index(volume.folder)}


def test_the_custody_log_has_what_was_done_since_the_night_ran(night: Published, volume: ProducedVolume) -> None:
    log = json.loads((volume.folder / "custody-log.json").read_text())
    # Other tests of this night hold recordings too, as other people.
    (held,) = [row for row in log if row["action"] == "held" and row["operator"] == PARALEGAL]
    assert held["recording_id"] == night.whole()[1]["recording_id"]
    assert (held["what"], held["why"]) == ("for another matter or request", WITHHELD)
    assert not any("Roe v." in path.read_text() for path in volume.folder.glob("custody-log.*"))
    assert {"exported", "hashed", "joined", "published"} <= {row["action"] for row in log}
    assert {row["role"] for row in log if not row["operator"]} <= {"vendor", "participant", "unknown"}
    graph = json.loads((volume.folder / "custody-log.jsonld").read_text())["@graph"]
    assert all(UUID(node["@id"][-36:]) for node in graph)  # what case_validate asks of a name


@pytest.mark.slow
def test_the_custody_log_is_valid_case(volume: ProducedVolume) -> None:
    graph = json.loads((volume.folder / "custody-log.jsonld").read_text())["@graph"]
    actions = [node for node in graph if node["@type"] == "investigation:InvestigativeAction"]
    assert len(actions) == len(json.loads((volume.folder / "custody-log.json").read_text()))
    program = Path(sys.executable).with_name("case_validate")
    told = subprocess.run([program, volume.folder / "custody-log.jsonld"], capture_output=True, text=True, check=False)
    assert (told.returncode, "Conforms: True" in told.stdout) == (0, True), told.stdout


def test_what_was_asked_is_produced_or_explained(night: Published, volume: ProducedVolume) -> None:
    with (volume.folder / "exceptions.csv").open(encoding="utf-8-sig", newline="") as file:
        exceptions = list(csv.DictReader(file))
    named = {row["recording_id"] for row in exceptions} | {line["recording_id"] for line in index(volume.folder)}
    assert named == {row["recording_id"] for row in night.rows}
    assert all((row["why"] and row["explanation"]) or row["why"] == "excluded: privilege" for row in exceptions)
    missing = {row["can_still_be_had"] for row in exceptions if row["why"] == "OBJECT_MISSING"}
    assert missing
    assert all(re.fullmatch(r"yes|until 20\d\d-\d\d-\d\d \d\d:\d\d UTC", answer) for answer in missing)
    with duckdb.connect(str(night.settings.analyst_path), read_only=True) as con:
        found = con.execute(
            "SELECT recording_id, evidence FROM custody.gaps WHERE reason = 'OBJECT_MISSING'"
        ).fetchall()
    proofs = {row["recording_id"]: row["proof"] for row in exceptions}
    for recording, evidence in found:
        for shown in json.loads(evidence):
            digest = f" sha256 {shown['sha256']}" if shown["sha256"] else ""  # a deleted version has none
            assert f"{shown['what']} {shown['uri']}{digest}" in proofs[recording]
    assert any("sha256" in proof for proof in proofs.values())
    assert not any("sha256" in row["proof"] for row in exceptions if row["why"].startswith("excluded"))
    told = json.loads((volume.folder / "production.json").read_text())
    assert (told["exceptions"], told["unmatched"]) == (len(exceptions), 0)
    account = told["account"]
    assert sum(account.values()) == len(night.rows)
    assert (account["In this volume"], account["Excluded, with a reason"]) == (volume.recordings, 1)
    privileged = night.whole()[0]["recording_id"]
    assert not [path for path in volume.folder.rglob("*.json") if path.name != "missing.json"
                and path.parent.name == "records" and privileged in path.read_text()]  # fmt: skip


def test_the_pages_need_no_script_and_name_the_facts(night: Published, volume: ProducedVolume) -> None:
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.append(tag)

    report, certificate = ((volume.folder / f"{name}.html").read_text() for name in ("report", "certificate"))
    Reader().feed(report + certificate)
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert {"main", "h1", "caption"} <= set(tags)
    assert index(volume.folder)[0]["sha256"] in report
    manifest = (volume.folder / "evidence/tagmanifest-sha256.txt").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() in certificate
    assert "as the storage service stated it" in certificate  # of a digest that S3 computed, no MD5 is known
    for part in ("DRAFT", "no\nlegal advice", "902(13)", f"{volume.recordings} recordings were copied", "____"):
        assert part in certificate


def test_the_pages_are_there_as_documents_that_other_readers_read(volume: ProducedVolume) -> None:
    html = (volume.folder / "certificate.html").read_text()
    said = " ".join(re.sub(r"<[^>]*>", "", html.partition("<main>")[2]).split())
    document = docx.Document(str(volume.folder / "certificate.docx"))
    paragraphs = document.paragraphs
    end = [paragraph.text for paragraph in paragraphs if paragraph.paragraph_format.keep_with_next]
    assert (end[0][:9], end[-1][-11:]) == ("I declare", "(signature)")  # never alone on a page
    assert document.sections[0].footer.paragraphs[0].text.startswith("DRAFT")
    assert " ".join(" ".join(paragraph.text for paragraph in paragraphs).split()) == unescape(said)
    assert {paragraph.style and paragraph.style.name for paragraph in paragraphs} == {"Title", "Normal", "List Number"}
    manifest = hashlib.sha256((volume.folder / "evidence/tagmanifest-sha256.txt").read_bytes()).hexdigest()
    for name, expected in (("certificate", manifest), ("report", index(volume.folder)[0]["sha256"])):
        with pypdfium2.PdfDocument(volume.folder / f"{name}.pdf") as pdf:
            text = "".join(page.get_textpage().get_text_bounded() for page in pdf)
            assert (expected in re.sub(r"\s", "", text), pdf.is_tagged()) == (True, True)


def test_text_of_others_is_only_text_in_a_pdf_and_a_long_digest_is_copied_whole() -> None:
    said = r"""#strong[x] $a$ `raw` @label <b> \ /* c */ #import "x" // é ↔ \u2028"""
    body = f"<h1>{escape(said)}</h1><p><code>{'0f' * 32}</code></p>"
    with pypdfium2.PdfDocument(pdf_of(f"<html><head><title>t</title></head><body>{body}</body></html>")) as pdf:
        text = pdf[0].get_textpage().get_text_bounded()
    assert " ".join(said.split()) in " ".join(text.split())
    assert "0f" * 32 in re.sub(r"\s", "", text)


def test_a_page_that_no_font_can_show_is_no_pdf_with_holes(tmp_path: Path) -> None:
    [told] = write_documents(
        tmp_path, {"report": "<html><head><title>t</title></head><body><h1>\U0001f4a9 \u0378</h1></body></html>"}
    )
    assert told.startswith("no report.pdf: ")
    assert "install a font" in told


def test_a_volume_without_the_extra_says_what_it_lacks(
    volume: ProducedVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("typst", "docx"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "report.pdf").write_text("of an attempt before")
    told = write_documents(tmp_path, {"report": "<p>x</p>", "certificate": "<p>y</p>"})
    assert [line.partition(":")[0] for line in told] == ["no report.pdf", "no certificate.pdf", "no certificate.docx"]
    assert all("pip install 'custody-pipeline[matters]'" in line for line in told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["certificate.html", "report.html"]


def test_the_neutral_certificate_names_no_law(night: Published) -> None:
    matter = night.matter("neutral", "  where: 1 = 1", "production: {certificate: neutral}")
    facts = dict.fromkeys(
        ("volume", "tool_version", "git_revision", "origin", "log_size", "log_root", "fingerprint", "produced",
         "made_at", "lost", "manifest_sha256", "exceptions"), "x")  # fmt: skip
    page = certificate_html(matter, facts)
    assert "ISO/IEC 27037" in page
    assert not re.search(r"Federal|U\.S\.C|perjury|United States", page)


def test_it_verifies_and_is_in_the_custody_events(night: Published, volume: ProducedVolume) -> None:
    report = verify(night, volume.folder)
    assert report.status == 0, report.summary()
    with Warehouse(night.settings).open(read_only=True) as con:
        found = con.execute(
            "SELECT count(*), any_value(why) FROM raw.acts WHERE how LIKE 'production%' AND sha256_after = ?",
            [volume.sha256],
        ).fetchone()
    assert found == (volume.recordings, "matter 007: Smith v. Acme, VOL001")


def test_a_production_of_the_version_that_signed_no_size_is_not_read_and_not_accused(
    night: Published, volume: ProducedVolume, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(volume.folder, tmp_path / "VOL001"))
    (key,) = (night.settings.home / "keys").glob("*.key")
    note = folder / "production-sha256.txt.sig"
    text = re.sub(rb"[0-9]+ bytes\n\n.*", b"", note.read_bytes(), flags=re.DOTALL)
    note.write_bytes(sign(text, [signer_from_file(key)]).data)
    report = verify(night, folder)
    assert report.status == 2, report.summary()
    assert "SIZE_NOT_SIGNED" in {finding.code for finding in report.findings}


def take_the_list_away(folder: Path) -> None:
    (folder / "production-sha256.txt").unlink()
    (folder / "production-sha256.txt.sig").unlink()


def sign_with_another_key(folder: Path) -> None:
    (folder / "index.csv").write_text("changed")
    list_production(folder)
    sign_production(folder, [OTHER])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda folder: (folder / "index.csv").write_text("changed"), "FILE_ALTERED"),
        (lambda folder: (folder / "exceptions.csv").unlink(), "FILE_MISSING"),
        (lambda folder: (folder / "more.csv").write_text("x"), "FILE_EXTRA"),
        (lambda folder: (folder / "production-sha256.txt.sig").unlink(), "PACKAGE_UNSIGNED"),
        (lambda folder: (folder / "production-sha256.txt").write_text(""), "PACKAGE_ALTERED"),
        (lambda folder: next((folder / "evidence/data/audio").iterdir()).write_bytes(b"x"), "MEDIA_CHANGED"),
        (lambda folder: shutil.rmtree(folder / "evidence"), "FILE_MISSING"),
        (take_the_list_away, "PACKAGE_UNSIGNED"),
        (sign_with_another_key, "PACKAGE_UNSIGNED"),
    ],
    ids=[
        "table",
        "no table",
        "more",
        "no signature",
        "no list",
        "audio",
        "no package",
        "neither list nor signature",
        "another key",
    ],
)
def test_a_changed_production_is_found_out(
    night: Published, volume: ProducedVolume, tmp_path: Path, change: Callable[[Path], object], code: str
) -> None:
    folder = Path(shutil.copytree(volume.folder, tmp_path / "VOL001"))
    change(folder)
    report = verify(night, folder)
    assert report.status == 1
    assert code in {finding.code for finding in report.findings}


def test_a_later_production_holds_only_what_changed_and_says_what_it_supersedes(
    night: Published, volume: ProducedVolume, tmp_path: Path
) -> None:
    with pytest.raises(MatterStateError, match="nothing is new: what acme has with audio was produced"):
        produce(night, "acme", tmp_path)
    register = register_of(night.settings, "acme")
    (first,) = register.volumes()
    changed, *others = first.recordings
    # As if the night had been sealed again since: the first recording had another row when it was produced.
    before = msgspec.structs.replace(changed, row_sha256="0" * 64)
    register.keep(msgspec.structs.replace(first, recordings=(before, *others)))
    try:
        told = CliRunner().invoke(app, ["matter", "report", "acme", "--to", str(tmp_path / "now.html")])
        assert told.exit_code == 0, told.output
        (second,) = produce(night, "acme", tmp_path)
    finally:
        register.keep(first)
    page = (tmp_path / "now.html").read_text()
    assert '<td>Produced in an earlier state</td><td class="n">1</td>' in page
    assert re.search(rf"{len(others)} of \d+ recordings that the selection finds were produced as they are now", page)
    (line,) = index(second.folder)
    assert (second.name, line["recording_id"], line["supersedes"]) == ("VOL002", changed.recording_id, changed.control)
    assert line["control_number"] == f"ACME{len(first.recordings) + 1:06}"
    assert verify(night, second.folder).status == 0


def test_what_an_erasure_removed_before_anybody_had_it_is_produced_again(night: Published, tmp_path: Path) -> None:
    chosen = night.whole()[1]["recording_id"]
    night.matter("removed", f"  ids: [{chosen}]")
    command = ["matter", "produce", "removed", "--to", str(tmp_path)]
    assert CliRunner().invoke(app, command).exit_code == 0
    register = register_of(night.settings, "removed")
    (first,) = register.volumes()
    shutil.rmtree(first.folder)
    assert CliRunner().invoke(app, command).exit_code != 0, "it may have been moved: nothing is new"
    register.keep(msgspec.structs.replace(first, removed_at="2026-11-30T00:00:00Z"))
    shown = json.loads(CliRunner().invoke(app, ["matter", "show", "removed", "--json"]).stdout)
    assert (shown["produced"], shown["remaining"]) == (0, 1)
    assert CliRunner().invoke(app, command).exit_code == 0
    (line,) = index(tmp_path / "VOL002")
    assert (line["recording_id"], line["supersedes"]) == (chosen, first.recordings[0].control)
    assert json.loads((tmp_path / "VOL002/production.json").read_text())["account"]["In other volumes"] == 0
    assert CliRunner().invoke(app, command).exit_code != 0, "nothing is new"
    assert "removed  Smith v. Acme  1 volume, 1 recording\n" in CliRunner().invoke(app, ["matter", "list"]).stdout
    # A number that nobody got is not named where an earlier state went out.
    older = msgspec.structs.replace(first.recordings[0], row_sha256="0" * 64)
    register.keep(msgspec.structs.replace(first, recordings=(older,)))
    (_, second) = register.volumes()
    register.keep(msgspec.structs.replace(second, removed_at="2026-11-30T00:00:00Z"))
    assert CliRunner().invoke(app, command).exit_code == 0
    assert index(tmp_path / "VOL003")[0]["supersedes"] == older.control


@pytest.mark.parametrize("is_meanwhile", [False, True])
def test_what_is_being_erased_is_in_no_volume(
    night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_meanwhile: bool
) -> None:
    chosen, name = night.whole()[1], f"erased-{is_meanwhile}".lower()
    night.matter(name, f"  ids: [{chosen['recording_id']}]")
    with monkeypatch.context() as patched:
        # As while an erasure runs: the snapshot and the cut have the rows until its end.
        known = iter([frozenset(), frozenset({chosen["conversation_id"]})][not is_meanwhile :])
        patched.setattr(volume_writer, "erased_conversations", lambda _: next(known))
        told = CliRunner().invoke(app, ["matter", "produce", name, "--to", str(tmp_path)])
    assert (told.exit_code, "are being erased" in str(told.exception)) == (1, True)
    assert list(tmp_path.iterdir()) == []
    assert [volume.state() for volume in register_of(night.settings, name).volumes()] == ["removed"] * is_meanwhile


@pytest.mark.parametrize("is_begun", [False, True])
def test_audio_that_is_gone_is_no_exception_if_another_volume_has_it_and_is_not_begun_again(
    night: Published, tmp_path: Path, is_begun: bool
) -> None:
    gone, there = next(row for row in night.rows if not row["media_sha256"]), night.whole()[1]
    name = f"gone-{is_begun}".lower()
    night.matter(name, f"  ids: ['{gone['recording_id']}', {there['recording_id']}]")
    before = Produced("A1", gone["conversation_id"], gone["recording_id"], str(NIGHT), "0" * 64, "0" * 64)
    begun = Volume(1, str(tmp_path / "VOL001"), "0" * 64, (before,), None if is_begun else "0" * 64)
    register_of(night.settings, name).keep(begun)
    told = CliRunner().invoke(app, ["matter", "produce", name, "--to", str(tmp_path)])
    assert told.exit_code == 0, told.output
    volume = tmp_path / ("VOL001" if is_begun else "VOL002")
    assert [line["recording_id"] for line in index(volume)] == [there["recording_id"]]
    exceptions = (volume / "exceptions.csv").read_text()
    assert (gone["recording_id"] in exceptions, "cannot_be_had_as_sealed" in exceptions) == (is_begun, False)
    account = json.loads((volume / "production.json").read_text())["account"]
    assert (account["In other volumes"], account["Without audio, with a reason"]) == (not is_begun, is_begun)


@pytest.mark.parametrize("step", ["fill_package", "list_production", "record_acts", "sign_production", "rename"])
def test_a_production_that_is_stopped_goes_on_with_the_same_numbers(
    night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    name = f"stopped-{step.replace('_', '-')}"
    owner, attribute = (Path, step) if step == "rename" else (volume_writer, step)

    with monkeypatch.context() as stopped:
        stopped.setattr(owner, attribute, Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            produce(night, name, tmp_path)
    (partial,) = tmp_path.iterdir()
    assert partial.name.startswith(".VOL001.")
    assert (verify(night, partial).status == 0) == (step == "rename")
    (begun,) = register_of(night.settings, name).volumes()
    now = standing(night.settings, *production_of(night, name))
    assert (now.produced, now.remaining) == (0, len(begun.recordings))
    (made,) = produce(night, name, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["VOL001"]
    assert [line["control_number"] for line in index(made.folder)] == [item.control for item in begun.recordings]
    assert verify(night, made.folder).status == 0


def test_what_is_excluded_or_withheld_after_a_production_was_stopped_does_not_go_out(
    night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = (row for row in night.whole() if row["ani"] and row["sidecar_sha256"])
    chosen = f"  ids: [{first['recording_id']}, {second['recording_id']}]"
    night.matter("late", chosen, "production: {conversations: as_received}")
    command = ["matter", "produce", "late", "--to", str(tmp_path)]

    def stopped_at(step: str) -> bytes:
        with monkeypatch.context() as stopped:
            stopped.setattr(volume_writer, step, Mock(side_effect=KeyboardInterrupt))
            assert CliRunner().invoke(app, command).exit_code != 0
        return all_files(next(tmp_path.glob(".VOL001.*")))

    assert second["ani"].encode() in stopped_at("list_production")
    exclude = f"exclude:\n  - {{ids: [{first['recording_id']}], reason: privilege}}"
    night.matter("late", chosen, exclude)
    stopped_at("sign_production")
    third = next(row["recording_id"] for row in night.whole() if row not in (first, second))
    chosen = chosen.replace("[", f"[{third}, ")
    night.matter("late", chosen, f"{exclude}\nmask: {{numbers: withheld}}")
    assert CliRunner().invoke(app, command).exit_code == 0
    (line,) = index(tmp_path / "VOL001")
    assert (line["recording_id"], line["control_number"]) == (second["recording_id"], "LATE000001")
    assert second["ani"].encode() not in all_files(tmp_path / "VOL001")
    # What is asked for since the production was stopped is in the next volume, and this one says so.
    assert json.loads((tmp_path / "VOL001/production.json").read_text())["account"] == {
        "In this volume": 1, "In other volumes": 0, "Excluded, with a reason": 1, "Without audio, with a reason": 0,
        "Audio that could not be read as it was sealed": 0, "Not yet produced": 1,
    }  # fmt: skip
    assert first["recording_id"].encode() not in all_files(tmp_path / "VOL001/evidence")
    assert verify(night, tmp_path / "VOL001").status == 2, "masked, and nothing else is wrong"


def all_files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_audio_that_is_gone_since_it_was_sealed_is_an_exception(
    night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, other = night.whole()[1:3]
    chosen = f"  ids: [{gone['recording_id']}, {other['recording_id']}]"
    night.matter("changed", chosen, "production: {prefix: CASE2026}")
    really_save = BucketMedia.save

    # commands/test_package.py removes a version from a real bucket; this night's is shared.
    def without_it(media: BucketMedia, uri: str, version_id: str | None, path: Path) -> Digests:
        if uri == gone["object_uri"]:
            raise FileNotFoundError(uri)
        return really_save(media, uri, version_id, path)

    with monkeypatch.context() as patched:
        patched.setattr(BucketMedia, "save", without_it)
        told = CliRunner().invoke(app, ["matter", "produce", "changed", "--to", str(tmp_path)])
    assert told.exit_code == 1
    assert "cannot_be_had_as_sealed" in (tmp_path / "VOL001/exceptions.csv").read_text()
    assert len(index(tmp_path / "VOL001")) == 1
    assert verify(night, tmp_path / "VOL001").status == 2
    # It is there again: it goes out then, under a number that nothing else had.
    assert CliRunner().invoke(app, ["matter", "produce", "changed", "--to", str(tmp_path)]).exit_code == 0
    (line,) = index(tmp_path / "VOL002")
    assert (line["recording_id"], line["control_number"]) == (gone["recording_id"], "CASE2026000003")


def test_a_recording_whose_length_no_source_states_says_so_in_every_table(night: Published) -> None:
    row = {"conversation_id": "c", "recording_id": "r", "duration_ms": None, "gap_reasons": '["SIDECAR_MISSING"]'}
    matter = night.matter("lengths", "  ids: [r]")
    index_row = partial(production_tables.index_row, volume="VOL001", control="A1", native="A1.wav", size=3)
    told = index_row(matter, row, {})
    assert told["duration"] == ""
    assert told["gaps"].endswith(". No source states how long it is.")
    times = {"recording_start": "2026-11-02T10:00:00", "recording_end": "2026-11-02T10:01:01.2"}
    told = index_row(matter, row | times, {})
    assert told["gaps"].endswith(". No sidecar states how long it is; from its start to its end are 00:01:01.")
    told = index_row(matter, row | times | {"recording_end": "2026-11-02T09:00:00"}, {})
    assert told["gaps"].endswith(". No source states how long it is.")
    timed = index_row(matter, row | {"duration_ms": "61000"}, {})
    assert (timed["duration"], "how long" in timed["gaps"]) == ("00:01:01", False)


def test_a_document_that_the_night_never_had_is_not_called_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_written(_: object, __: str, wanted: Iterable[tuple[Path, str, str]]) -> list[Path]:
        return [path for path, *_ in wanted]

    monkeypatch.setattr(volume_writer, "write_conversations", none_written)
    volume = Volume(1, "/VOL001", "", ())
    matter = Mock(mask=None)
    lines = [
        SpooledLine(control, ("2026-11-02", "c", control), {}, "", False, "", "", sha256, False)
        for control, sha256 in (("A1", "0" * 64), ("A2", ""))
    ]
    writer = VolumeWriter(Mock(), "", matter, Mock(), Mock(), Mock(), volume)
    unfound, _ = writer._conversations(cast("Spool", lines))
    assert unfound == {
        "A1": "No sealed cut has the document in a form that can be read here.",
        "A2": "The night was sealed without a document of the conversation.",
    }


def test_a_page_and_the_terminal_count_audio_without_bytes(night: Published) -> None:
    matter, register = night.matter("empty", "  where: 1 = 1"), register_of(night.settings, "empty")
    empty = msgspec.structs.replace(test_found_recordings.recording(1), reasons=("OBJECT_EMPTY",))
    found = Standing(Found(Recordings([empty, test_found_recordings.recording(2)])), (), (), (), 0, 2)
    page = matter_html(matter, found, register, Actor.of(night.settings))
    assert "1 of the recordings that were found has an audio file without bytes" in page
    assert (found.to_dict()["with_audio"], found.to_dict()["without_bytes"]) == (1, 1)
    assert "  found 2 recordings, 1 with audio, 1 file without bytes" in list(_selection(matter, found))


@pytest.mark.parametrize(
    ("direction", "names"), [("inbound", ("", "Ann")), ("outbound", ("Ann", "")), (None, ("", ""))]
)
def test_an_agent_is_on_no_side_of_a_call_whose_direction_is_not_known(
    night: Published, direction: str | None, names: tuple[str, str]
) -> None:
    row = {"direction": direction, "user_ids": '["u1"]', "agent_names": '["Ann"]'}
    told = production_tables.index_row(
        night.matter("sides", "  ids: [r]"), row, {}, volume="VOL001", control="A1", native="A1.wav", size=3
    )
    assert (told["caller_name"], told["called_name"], told["agent_names"]) == (*names, "Ann")


@pytest.mark.parametrize(
    ("codes", "until", "told"),
    [
        (["OBJECT_MISSING", "TAG_NEVER_SET"], None, "yes"),  # that a tag is lost says nothing of the audio
        (["OBJECT_UNREADABLE", "TAG_CONFLICT"], datetime(2026, 12, 1), "until 2026-12-01 00:00 UTC"),
        (["OBJECT_UNREADABLE"], datetime(2026, 11, 1), "no, since 2026-11-01 00:00 UTC"),
        (["RECORDING_DELETED", "TAG_TRUNCATED"], None, "no"),
        (["TAG_TRUNCATED"], None, ""),
    ],
)
def test_only_reasons_of_the_audio_say_whether_it_can_be_recovered(
    codes: list[str], until: datetime | None, told: str
) -> None:
    assert production_tables.can_be_had(codes, until, datetime(2026, 11, 30)) == told
