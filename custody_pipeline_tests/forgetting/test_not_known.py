"""Where nobody can tell whether something is held or named, nothing is removed, and that is said."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import unicodedata
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import duckdb
import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.extract.documents import document
from custody_pipeline.extract.genesys import Answer, GenesysClient
from custody_pipeline.extract.genesys_errors import UnexpectedAnswer
from custody_pipeline.extract.landing_files import Folder, LandingError, LandingWriter
from custody_pipeline.forgetting.finder import _conversations, holders, left_by_seals
from custody_pipeline.forgetting.landing_rewrite import LandingRewrite
from custody_pipeline.forgetting.object_versions import Version, holds_on
from custody_pipeline.forgetting.places import files_naming, remove_files
from custody_pipeline.io.whole_file import sha256_of
from custody_pipeline.load.raw_tables import create_raw_tables
from custody_pipeline.matters.holds import protected
from custody_pipeline.matters.id_list import IdList
from custody_pipeline.matters.matter import Selection, TagCondition
from custody_pipeline.matters.register import new_matter, register_of
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.erasures import Request, Tombstone, keep_request, names_of, with_shared, write_erasures
from custody_pipeline_tests import ready_warehouse
from custody_pipeline_tests.publish.nights import insert

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONVERSATION = "5c1e0000-0000-4000-8000-000000000001"
NOW = datetime(2026, 11, 28, tzinfo=UTC)


class Locks:
    """A bucket with Object Lock that answers each question about a version with an error."""

    def __init__(self, code: str) -> None:
        self.code = code

    def get_object_lock_configuration(self, **_: Any) -> dict[str, Any]:
        return {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}}

    def get_object_retention(self, **_: Any) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": self.code}}, "GetObjectRetention")

    get_object_legal_hold = get_object_retention


def locks(code: str) -> S3Client:
    return cast("S3Client", Locks(code))


VERSION = Version("dataset", "prod/a", "v1", latest=True, marker=False)


@pytest.mark.parametrize("code", ["NoSuchObjectLockConfiguration", "NoSuchVersion", "InvalidRequest"])
def test_an_object_without_a_lock_is_not_held(code: str) -> None:
    assert holds_on(locks(code), [VERSION], NOW) == []


@pytest.mark.parametrize("code", ["AccessDenied", "SlowDown", "InternalError", "ExpiredToken", ""])
def test_an_error_is_no_word_about_locks(code: str) -> None:
    with pytest.raises(ClientError):
        holds_on(locks(code), [VERSION], NOW)


class Vendor:
    """Answers every request with one body."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def post(self, path: str, _: object) -> Answer:
        return Answer(f"POST {path}", self.body, 200, None)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"entities": []}', b"null", b'["x"]', b'[{"selfUri": "/x"}]'])
def test_an_answer_of_another_shape_does_not_say_that_nothing_is_protected(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswer, match="no list of conversations"):
        protected(cast("GenesysClient", Vendor(body)), [CONVERSATION])


def test_the_vendors_list_says_what_is_protected() -> None:
    assert protected(cast("GenesysClient", Vendor(b"[]")), [CONVERSATION]) == set()
    listed = b'[{"id": "%s", "selfUri": "/x"}]' % CONVERSATION.encode()
    assert protected(cast("GenesysClient", Vendor(listed)), [CONVERSATION]) == {CONVERSATION}


@pytest.mark.parametrize("state", ["held", "asked", "held before", "the API is not configured: CUSTODY_GENESYS_DOMAIN"])
def test_a_matter_holds_what_it_asked_for_also_where_the_vendor_did_not(tmp_path: Path, state: str) -> None:
    settings = Settings(home=tmp_path)
    new_matter(settings, "smith", "Smith", "1", {"ids": [CONVERSATION]})
    register = register_of(settings, "smith")
    register.folder.mkdir(parents=True, exist_ok=True)
    (register.folder / "holds.json").write_text(
        f'{{"conversations": {{"{CONVERSATION.upper()}": "{state}"}}, "objects": {{}}}}'
    )
    for _ in ("with its file", "without it"):
        (why,) = holders(settings, [CONVERSATION]).values()
        assert "matter smith" in why
        (tmp_path / "matters/smith.yaml").unlink(missing_ok=True)
    (register.folder / "holds.json").unlink()
    assert holders(settings, [CONVERSATION]) == {}


@pytest.mark.parametrize("number", ["0", "²", "sip:anonymous@10.1.2.3"])
def test_what_has_no_digits_to_compare_is_no_number_of_every_call_without_one(tmp_path: Path, number: str) -> None:
    told = CliRunner().invoke(app, ["--home", str(tmp_path), "erase", "--number", number], env={"COLUMNS": "200"})
    assert (told.exit_code, "expected a number" in told.output) == (2, True)


def test_a_recording_of_no_known_conversation_cannot_be_erased_and_is_told(tmp_path: Path) -> None:
    ready_warehouse.lay(tmp_path)
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as con:
        for conversation, recording in (("", "r1"), ("c2", "r2")):
            insert(
                con,
                "custody.chain_of_custody",
                partition_date=NOW.date(),
                conversation_id=conversation,
                recording_id=recording,
                gap_reasons=[],
            )
        assert _conversations(con, Selection(ids=IdList.of(["r1", "r2", "r3"]))) == ({"c2"}, ("r3", "r1"))


def test_a_value_is_found_in_both_spellings_of_an_accented_letter(tmp_path: Path) -> None:
    ready_warehouse.lay(tmp_path)
    spelled = {form: unicodedata.normalize(form, "José") for form in ("NFC", "NFD")}
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as con:
        for form, value in spelled.items():
            row = {"partition_date": NOW.date(), "conversation_id": form, "recording_id": "r", "gap_reasons": []}
            insert(con, "custody.chain_of_custody", **row, custom_data=orjson.dumps({"Name": value}).decode())
        for value in spelled.values():
            asked = Selection(tags=(TagCondition("Name", "=", value),))
            assert _conversations(con, asked)[0] == {"NFC", "NFD"}


def test_a_name_that_others_may_have_names_nothing(tmp_path: Path) -> None:
    """A recording that only an exported file tells has the file's name. A file may lie below two conversations."""
    mine, both = (f"{CONVERSATION[:-1].upper()}{number}" for number in (7, 8))
    names = (mine, both, "", "session:s", "audio", "1")
    recordings = tuple(Tombstone("2026-11-02", "C", name) for name in names)
    request = Request("0" * 32, "2026-11-28T00:00:00Z", "me", "", "", (), ("C",), recordings, ("2026-11-02",))
    assert names_of(request) == {"c", mine.lower(), both.lower()}
    ready_warehouse.lay(tmp_path)
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as con:
        night = NOW.date()
        for conversation, recording in (("C", mine), ("", mine), ("C", both), ("c", "audio"), ("other", "own")):
            of_night = {"partition_date": night, "conversation_id": conversation, "recording_id": recording}
            insert(con, "custody.chain_of_custody", **of_night)
        insert(con, "raw.row_versions", partition_date=night, conversation_id="other", recording_id=both.lower())
        assert names_of(with_shared(con, request)) == {"c", mine.lower()}


def test_rows_of_the_erased_are_those_of_the_requests_and_not_only_as_many(tmp_path: Path) -> None:
    def erased() -> list[tuple[str, str, str]]:
        with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as con:
            write_erasures(con, Settings(home=tmp_path))
            rows = "SELECT recording_id, erasure_id, asked_at::VARCHAR FROM raw.erasures ORDER BY ALL"
            return con.execute(rows).fetchall()

    ready_warehouse.lay(tmp_path)
    for name, asked_at, recording in (("0", "2026-11-28", "R"), ("1", "2026-11-29", "R"), ("1", "2026-11-27", "S")):
        tombstone = Tombstone("2026-11-02", "C", recording)
        request = Request(name * 32, f"{asked_at}T00:00:00Z", "me", "", "", (), ("C",), (tombstone,), ("2026-11-02",))
        keep_request(Settings(home=tmp_path), request)
        found = erased()
    assert found == [("R", "0" * 32, "2026-11-28 00:00:00"), ("S", "1" * 32, "2026-11-27 00:00:00")]
    keep_request(
        Settings(home=tmp_path),
        msgspec.structs.replace(request, recordings=(msgspec.structs.replace(tombstone, recording_id="T"),)),
    )
    assert [name for name, *_ in erased()] == ["R", "T"]
    for path in (tmp_path / "erasures").iterdir():
        path.unlink()
    assert erased() == []


def test_files_of_the_home_are_searched_unpacked_and_those_that_cannot_be_are_named(tmp_path: Path) -> None:
    naming = f"about {CONVERSATION.upper()}"
    (tmp_path / "sheets").mkdir()
    with zipfile.ZipFile(tmp_path / "sheets/gaps.xlsx", "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("xl/sheet1.xml", naming * 100)
    (tmp_path / "notes.txt.gz").write_bytes(gzip.compress(naming.encode()))
    (tmp_path / "wide.csv").write_text(naming, "utf-16")
    (tmp_path / "other.txt").write_text("about nobody")
    Path(os.fsdecode(bytes(tmp_path) + b"/n\xf6te.txt")).write_text(naming)
    (tmp_path / "cut-off.gz").write_bytes(gzip.compress(naming.encode())[:-12])
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04 no archive")
    (tmp_path / "old-copy.duckdb").write_bytes(b"whatever")
    pq.write_table(pa.table({"conversation_id": [CONVERSATION]}), tmp_path / "mine.parquet")
    pq.write_table(pa.table({"conversation_id": [1], "call": [[CONVERSATION]]}), tmp_path / "other-columns.parquet")
    (tmp_path / "packed.bz2").write_bytes(bz2.compress(naming.encode()))
    (tmp_path / "packed.xz").write_bytes(lzma.compress(naming.encode()))
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as outer:
        outer.writestr("inner.gz", gzip.compress(naming.encode()))
    with zipfile.ZipFile(tmp_path / "secret.zip", "w") as locked:
        locked.writestr("a", naming)
    secret = bytearray((tmp_path / "secret.zip").read_bytes())
    for at in (6, secret.index(b"PK\x01\x02") + 8):
        secret[at] |= 1  # the flag of a member with a password
    (tmp_path / "secret.zip").write_bytes(secret)

    places = {
        place.where.rsplit("/", 1)[1]: place.note for place in files_naming(Settings(home=tmp_path), {CONVERSATION})
    }

    assert {name for name, note in places.items() if note.startswith("cannot be searched")} == {
        "cut-off.gz", "no.zip", "old-copy.duckdb", "packed.bz2", "packed.xz", "secret.zip", "twice.zip",
    }  # fmt: skip
    assert {name for name, note in places.items() if note.startswith("not made by")} == {
        "notes.txt.gz", "mine.parquet", "other-columns.parquet", r"n\udcf6te.txt", "wide.csv",
    }  # fmt: skip
    assert places["gaps.xlsx"] == ""
    assert "other.txt" not in places
    remove_files(list(files_naming(Settings(home=tmp_path), {CONVERSATION})))
    assert not (tmp_path / "sheets/gaps.xlsx").exists()
    assert (tmp_path / "old-copy.duckdb").exists()


def test_what_a_killed_seal_staged_goes_once_no_seal_can_be_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def staged(name: str, days: float, *, latest: bool = True) -> Version:
        return Version("dataset", f"prod/sealing/{name}", "v", latest, False, NOW - timedelta(days=days))

    old, pending, new = (digit * 32 for digit in "abc")
    wanted = staged(f"{old}/data/records.ndjson", 2)
    versions = [wanted, staged(f"{pending}/x", 2), staged(f"{new}/x", 0.5), staged("head", 2), staged("head", 2)]
    versions += [staged(f"{old}/data/x", 2, latest=False), replace(wanted, key="prod/parquet/gaps/x")]
    state = SimpleNamespace(pending=SimpleNamespace(id=pending))
    monkeypatch.setattr("custody_pipeline.publish.claims.Claims.read", lambda _: state)
    settings = Settings(home=tmp_path, publish_url="s3://dataset/prod")
    found = left_by_seals(settings, cast("S3Client", None), versions, NOW)
    assert found == ([wanted], {f"s3://dataset/prod/sealing/{new}/"})


def test_a_copied_home_rewrites_no_landing_file_of_the_home_that_it_was_copied_from(tmp_path: Path) -> None:
    """The receipts of the copy name the files of the original."""
    original, copy = (Folder(str(tmp_path / name / "landing")) for name in ("original", "copy"))
    for place in (original, copy):
        with LandingWriter(place, "conversations", NOW.date(), "load") as writer:
            writer.add({"conversation_id": CONVERSATION}, "u", datetime(2026, 11, 3), document(b"{}"))
    (file,) = (tmp_path / "original").rglob("*.gz")
    before = file.read_bytes()
    request = Request("0" * 32, "2026-11-28T00:00:00Z", "me", "", "", (), (CONVERSATION,), (), ("2026-11-02",))
    rewriting = LandingRewrite(Settings(home=tmp_path / "copy"), cast("S3Client", None), request)
    made = rewriting._rewritten(str(file), file, tmp_path / "new", None)
    assert made is not None
    assert file.read_bytes() == before
    assert Path(made.uri) == tmp_path / "copy" / file.relative_to(tmp_path / "original")
    assert sha256_of(Path(made.uri)) == made.sha256


@pytest.mark.parametrize("resource", ["conversations", "extraction_receipts"])
@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b'{"other": 1}\n'), gzip.compress(b"x" * 99)[:-9]])
def test_a_damaged_landing_file_is_named(tmp_path: Path, resource: str, content: bytes) -> None:
    settings = Settings(home=tmp_path)
    file = tmp_path / "landing" / resource / "date=2026-11-02" / "20261103T023000000000Z-1.ndjson.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    request = Request("1", "2026-11-28T00:00:00Z", "me", "why", "law", (), (CONVERSATION,), (), ("2026-11-02",))
    with duckdb.connect() as con:
        create_raw_tables(con, ["extraction_receipts"])
        with pytest.raises(LandingError, match=f"{file} is damaged"):
            LandingRewrite(settings, cast("S3Client", None), request).of_night(con, "2026-11-02")
