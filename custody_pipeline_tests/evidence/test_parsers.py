"""Whatever bytes a parser is given, it reads them back to the byte or refuses them by its own kind of exception."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.proof import ProofFileError, Prover, read_commitment, read_proof
from custody_pipeline.evidence.cut.removal import (
    decode_key_statement,
    decode_statement,
    encode_statement,
    remaining_leaf,
)
from custody_pipeline.evidence.cut.seal import Claimed
from custody_pipeline.evidence.log.checkpoint import read_checkpoint, read_witness_request, witness_request
from custody_pipeline.evidence.log.keys import parse_public_keys, rotated_keys, rotation
from custody_pipeline.evidence.log.note import NoteError, parse
from custody_pipeline.evidence.log.tiles import TileError, TileTree
from custody_pipeline.evidence.package.check import read_list, verify_package
from custody_pipeline.evidence.package.layout import Statement as PackageStatement
from custody_pipeline.evidence.package.volume_tables import LOAD_COLUMNS, _index, _lines_of, _load_lines
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.copies import without_duplicates
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.sealed_table import UNREADABLE
from custody_pipeline.io.encrypted_files import MAGIC, EncryptedFileError, encrypted_bytes, opened_bytes
from custody_pipeline_tests.evidence.erasing import erase
from custody_pipeline_tests.evidence.memory_reader import MemoryReader
from custody_pipeline_tests.evidence.packages import sign_again
from custody_pipeline_tests.evidence.published import NIGHTS, ORIGIN, OTHER, SIGNER, Publisher, rows
from custody_pipeline_tests.evidence.test_forgotten_keys import KEY, forget
from custody_pipeline_tests.evidence.test_forgotten_keys import NIGHT as FORGOTTEN
from custody_pipeline_tests.evidence.test_package_contents import make_package, publish_with_audio

FIRST = f"cuts/date={NIGHTS[0]}/r0001/"
KEYS = [SIGNER.verifier]

# What parsers stumble over: line ends, NUL, numbers without end, invalid UTF-8, depth, duplicate members, surrogates.
HOSTILE = [
    b"", b"\n", b"\n\n", b"\r\n", b"\x00", b"\xff", b"9" * 5_000, b"-1", b"1e999", b"[" * 5_000, b'{"a":1,"a":2}',
    b'"\\ud800"', b"null", "\u2028".encode(), "\u2014 x AAAA\n".encode(), b"=", b"NaN", b" ",
]  # fmt: skip

edits = st.lists(
    st.tuples(
        st.integers(0, 2**16),
        st.integers(0, 40),
        st.one_of(
            st.sampled_from(HOSTILE), st.binary(max_size=6), st.text("0123456789+/=abc\n", max_size=6).map(str.encode)
        ),
    ),
    max_size=3,
)
"""Where, how many bytes are taken away, what is put there."""


def edited(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for at, less, more in changes:
        place = at % (len(data) + 1)
        data = data[:place] + more + data[place + less :]
    return data


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return publish_with_audio(tmp_path_factory.mktemp("parsers") / "set")


@pytest.fixture(scope="module")
def valid(published: Publisher) -> dict[str, bytes]:
    return valid_documents(published)


def valid_documents(published: Publisher) -> dict[str, bytes]:
    """One valid document of each kind."""
    found = {path: (published.root / FIRST / path).read_bytes() for path in ("cut.json", "cut.json.sig", "checkpoint")}
    found["request"] = (published.root / FIRST / "checkpoint.consistency").read_bytes()
    found["proof"] = next(Prover(FolderReader(published.root), KEYS).each([f"{NIGHTS[0]}-r0002"])).data
    found["rotation"] = rotation(ORIGIN, [SIGNER], [OTHER]).data
    found["commitment"] = read_proof(found["proof"]).commitment.data
    with tempfile.TemporaryDirectory() as name:
        erased = Publisher(Path(name))
        erased.night(NIGHTS[1], rows(NIGHTS[1], 5))
        erase(erased)
        prefix = Path(name, f"cuts/date={NIGHTS[1]}/r0002")
        found["erasure.json"] = (prefix / "erasure.json").read_bytes()
        found["line of remains"] = (prefix / "remains/r0001/data/records.ndjson").read_bytes().split(b"\n")[3]
        found["tile"] = Path(name, "log/tile/0/000.p/12").read_bytes()
        found["pointer"] = Path(name, f"current/date={NIGHTS[1]}.json").read_bytes()
        forget(erased)
        found["forgotten-key.json"] = Path(name, f"cuts/date={FORGOTTEN}/r0002/forgotten-key.json").read_bytes()
    found["encrypted file"] = encrypted_bytes(b"of a caller", KEY)
    found["list of files"] = b"".join(b"%064x  data/%d\n" % (number, number) for number in range(3))
    columns = list(LOAD_COLUMNS.values())
    found["index.csv"] = f"{','.join(dict.fromkeys(columns))}\r\n".encode() * 2
    names, values = "\xfe\x14\xfe".join(LOAD_COLUMNS), "\xfe\x14\xfe".join(["1"] * len(LOAD_COLUMNS))
    found["loadfile.dat"] = f"\xfe{names}\xfe\r\n\xfe{values}\xfe\r\n".encode()
    found["package.json"] = b'{"origin":"x","size":1,"root":"","night":null,"asked":["a"],"records":[],"left_out":0}'
    found["sealing/head"] = msgspec.json.encode(Claimed(1, "00" * 32))
    found["keys"] = f"# two\n{SIGNER.verifier.vkey}\n{OTHER.verifier.vkey}\n".encode()
    return found


def read_request(data: bytes) -> bytes:
    return witness_request(*read_witness_request(data))


def follow(data: bytes) -> bytes:
    """Only the statement itself leads from one key to the other."""
    assert rotated_keys(data, ORIGIN, KEYS)[1] == [OTHER.verifier]
    return data


def read_whole_proof(data: bytes) -> bytes:
    """The record is parsed only when it is asked for."""
    proof = read_proof(data)
    assert isinstance(proof.row, dict)
    return proof.data


def read_tiles(data: bytes) -> None:
    """One tile of a log of as many leaves as its bytes ask for, and as many more as fit the next."""
    tree = TileTree(
        MemoryReader({"tile/0/000": data, f"tile/0/000.p/{len(data) // 32 % 256}": data}), len(data) // 32, ""
    )
    assert len(tree.root()) == 32


def read_whole_list(data: bytes) -> bytes:
    listed, is_whole = read_list(data)
    if not is_whole:
        raise ValueError
    return "".join(f"{sha256}  {path}\n" for path, sha256 in listed.items()).encode()


def read_remains(data: bytes) -> bytes:
    """What stands for an erased record gives back its line; any other line is a record."""
    leaf, erased = remaining_leaf(data)
    return b'{"_erased":"%s"}' % leaf.hex().encode() if erased else data


def read_encrypted(data: bytes) -> None:
    """Whatever is altered, nothing but the content is given out."""
    assert data[:4] != MAGIC or opened_bytes(data, lambda *_: KEY) == b"of a caller"


WRONG_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
PARSERS: dict[str, tuple[Callable[[bytes], object], type[Exception] | tuple[type[Exception], ...]]] = {
    "cut.json": (lambda data: cuts.encode_cut(cuts.decode_cut(data)), cuts.CutError),
    "cut.json.sig": (lambda data: parse(data).data, NoteError),
    "checkpoint": (lambda data: read_checkpoint(data).note.data, NoteError),
    "request": (read_request, NoteError),
    "proof": (read_whole_proof, ProofFileError),
    "rotation": (follow, NoteError),
    "commitment": (lambda data: read_commitment(data).data, ProofFileError),
    "erasure.json": (lambda data: encode_statement(decode_statement(data)), cuts.CutError),
    "forgotten-key.json": (lambda data: encode_statement(decode_key_statement(data)), cuts.CutError),
    "line of remains": (read_remains, ValueError),
    "list of files": (read_whole_list, ValueError),
    # What is read by these is not written again.
    "keys": (lambda data: parse_public_keys(data.decode(errors="replace")), NoteError),
    "encrypted file": (read_encrypted, EncryptedFileError),
    "tile": (read_tiles, TileError),
    "index.csv": (lambda data: _lines_of(_index(data)), (*UNREADABLE, csv.Error)),
    "loadfile.dat": (_load_lines, ValueError),
    "package.json": (lambda data: msgspec.json.decode(data, type=PackageStatement), WRONG_JSON),
    "sealing/head": (lambda data: msgspec.json.decode(data, type=Claimed), WRONG_JSON),
    "pointer": (lambda data: json.loads(data, object_pairs_hook=without_duplicates), (ValueError, RecursionError)),
}


@pytest.mark.parametrize("kind", PARSERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=edits)
@example(changes=[])
def test_a_parser_reads_back_to_the_byte_or_refuses(
    valid: dict[str, bytes], kind: str, changes: list[tuple[int, int, bytes]]
) -> None:
    read, refusal = PARSERS[kind]
    data = edited(valid[kind], changes)
    try:
        again = read(data)
    except refusal:
        assert data != valid[kind]
    else:
        assert again == data or not isinstance(again, bytes)


@pytest.mark.parametrize("kind", PARSERS)
def test_a_parser_refuses_what_is_no_document(kind: str) -> None:
    read, refusal = PARSERS[kind]
    for data in HOSTILE:
        if kind in {"encrypted file", "line of remains", "pointer", "tile"}:
            continue  # any file, any record, any JSON, the tiles of a log without leaves
        if kind == "keys" and not data.decode(errors="replace").strip():
            continue  # a file without a key
        with pytest.raises(refusal):
            read(data)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 600), st.binary(max_size=70), st.integers(0, 2**20))
def test_tiles_of_any_bytes_are_a_tree_or_refused(size: int, piece: bytes, wrong: int) -> None:
    files = {
        "tile/0/000": (piece * 300)[: wrong % 9_000],
        "tile/0/001": piece,
        f"tile/0/{size // 256:03}.p/{size % 256}": (piece * 300)[: 32 * (size % 256)],
        f"tile/1/000.p/{size // 256}": (piece * 3)[: 32 * (size // 256)],
    }
    tree = TileTree(MemoryReader(files), size, "")
    with suppress(TileError):
        assert len(tree.root()) == 32


FILES = [
    "manifest-sha256.txt",
    "bag-info.txt",
    "bagit.txt",
    "data/package.json",
    "data/missing.json",
    "data/public-key.txt",
]


@pytest.fixture(scope="module")
def package(published: Publisher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(published, tmp_path_factory.mktemp("bag") / "package")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), edits)
def test_a_bag_of_any_bytes_gets_a_verdict_even_when_its_owner_signed_it(
    package: Path, name: str, changes: list[tuple[int, int, bytes]]
) -> None:
    before = (package / name).read_bytes()
    (package / name).write_bytes(edited(before, changes))
    if name.startswith("data/"):
        sign_again(package, [SIGNER])
    try:
        report = verify_package(package, Options(KEYS))
        json.dumps(report.as_dict())
        assert report.status in {0, 1}
        assert report.status == 1 or name.startswith("data/") or edited(before, changes) == before
    finally:
        (package / name).write_bytes(before)
        sign_again(package, [SIGNER])
