"""`custody witness`: against a witness that keeps to https://c2sp.org/tlog-witness, and against ones that do not."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import pytest
from urllib3.exceptions import ProtocolError

from custody_pipeline.evidence.cut.proof import Prover
from custody_pipeline.evidence.log.checkpoint import InconsistentHeadError
from custody_pipeline.evidence.log.cosignatures import WitnessContradictsError, WitnessError, check_witness_keys
from custody_pipeline.evidence.log.note import COSIGNATURE_V1, NoteError, Verifier
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.operations import witnesses
from custody_pipeline.operations.witnesses import Asked, add, ask, ask_all, witness_keys
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline_tests.evidence.memory_reader import MemoryReader
from custody_pipeline_tests.evidence.published import NIGHTS, SIGNER, Publisher, rows
from custody_pipeline_tests.evidence.witness import TIME, Answer, Witness
from custody_pipeline_tests.raw_answers import answering


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
def url(witness: Witness) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = witness.answer(body) if self.path == "/v0/add-checkpoint" else (404, b"")
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v0/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """A home that published one night."""
    made = Publisher(tmp_path / "published")
    made.night(NIGHTS[0], rows(NIGHTS[0]))
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/log.pub").write_text(SIGNER.verifier.vkey)
    return Settings(home=tmp_path)


def check(publisher: Publisher, *witnesses: Witness, quorum: int | None = None) -> tuple[int, set[str], Report]:
    report = verify(
        FolderReader(publisher.root),
        Options(
            public_keys=[SIGNER.verifier],
            witnesses=[witness.verifier for witness in witnesses],
            quorum=quorum,
        ),
    )
    return report.status, {finding.code for finding in report.findings}, report


def head(publisher: Publisher) -> bytes:
    return (publisher.root / "log/checkpoint").read_bytes()


def text(publisher: Publisher) -> bytes:
    return head(publisher).partition(b"\n\n")[0] + b"\n"


def test_a_witness_sees_each_head_with_a_proof_from_the_one_before(
    settings: Settings, publisher: Publisher, witness: Witness, url: str
) -> None:
    first = ask(settings, url, [witness.verifier])
    publisher.night(NIGHTS[1], rows(NIGHTS[1]))
    assert "NOT_WITNESSED" in check(publisher, witness)[1]
    ask(settings, url, [witness.verifier])
    ask(settings, url, [witness.verifier])

    assert witness.asked == [0, 0, 41, 0, 82], "the size that it saw last is what it says it is"
    assert (publisher.root / "log/cosigned/41").read_bytes() == first.note.data
    assert (publisher.root / "log/cosigned/82").read_bytes() == head(publisher)
    assert head(publisher).count(witness.verifier.name.encode()) == 1
    status, codes, report = check(publisher, witness)
    assert (status, codes) == (0, {"NO_PINNED_CHECKPOINT", "NOT_TIMESTAMPED"})
    seen = datetime.strptime(report.facts["seen by witness.example/w1"], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - seen) < timedelta(minutes=10)
    assert report.valid["cosigned checkpoints"] == report.total["cosigned checkpoints"] == 2
    assert check(publisher)[0] == 0, "who knows no witness verifies as before"


def test_a_proof_carries_the_cosignatures(settings: Settings, publisher: Publisher, witness: Witness, url: str) -> None:
    ask(settings, url, [witness.verifier])
    (proof,) = Prover(FolderReader(publisher.root), [SIGNER.verifier]).each([f"{NIGHTS[0]}-r0001"])
    reader = MemoryReader({"one.tlog-proof": proof.data})
    other = Witness("witness.example/w2", 8)

    def status(*witnesses: Witness, quorum: int | None = None) -> int:
        keys = [item.verifier for item in witnesses]
        return verify(reader, Options(public_keys=[SIGNER.verifier], witnesses=keys, quorum=quorum)).status

    assert (status(witness), status(witness, other, quorum=1), status(witness, other), status(other)) == (0, 0, 2, 2)


def test_a_quorum_is_counted_by_witness(settings: Settings, publisher: Publisher, tmp_path: Path) -> None:
    one, two, three = (Witness(f"witness.example/w{number}", number) for number in (1, 2, 3))
    file = tmp_path / "cosigned"
    for witness in (one, two):
        file.write_bytes(witness.line(text(publisher)))
        add(settings, file, [witness.verifier])
    file.write_bytes(head(publisher) + one.line(text(publisher), TIME + 60))
    add(settings, file, [one.verifier])

    assert head(publisher).count("— witness.example/w1".encode()) == 1
    assert check(publisher, one, two, three, quorum=2)[0] == 0
    status, codes, report = check(publisher, one, two, three)
    assert status == 2
    assert "NOT_WITNESSED" in codes
    assert "2 of 3, 3 are needed" in "\n".join(report.summary())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((403, b""), "register the log's public key there"),
        ((404, b""), "register the log's origin"),
        # Before a proof from its own size was sent, a refusal compares nothing.
        ((409, b""), "HTTP 409; ask again later"),
        ((409, b"7\n"), "HTTP 409; ask again later"),
        ((422, b""), "HTTP 422; ask again later"),
        ((500, b"sorry"), "HTTP 500"),
        ((302, b""), "HTTP 302"),
        ((200, b""), "a note is text"),
        ((200, b"\xff\n"), "UTF-8"),
        ((200, b"x" * 1_000_000), "more than 65,536 bytes"),
        ((200, Witness("witness.example/w1", 8).line(b"x\n")), "no cosignature of a known witness"),
        ((200, Witness().line(b"x\n")), "is wrong"),
    ],
)
def test_an_answer_that_is_no_cosignature_changes_nothing(
    settings: Settings, publisher: Publisher, witness: Witness, url: str, answer: Answer, says: str
) -> None:
    before = head(publisher)
    witness.answer = lambda _: answer

    with pytest.raises(WitnessError, match=says) as raised:
        ask(settings, url, [witness.verifier])
    assert not isinstance(raised.value, WitnessContradictsError), "no finding"
    assert head(publisher) == before
    assert not (publisher.root / "log/cosigned").exists()


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([(409, b"41\n"), (409, b"")], "another root at this size"),
        ([(409, b"41\n"), (422, b"")], "another past of this log"),
        ([(409, b"7\n"), (422, b"")], "another past of this log"),
        ([(409, b"1000\n")], "has cosigned this log at 1000 leaves, and 41 are here"),
    ],
)
def test_a_witness_of_another_log_is_a_finding(
    settings: Settings, publisher: Publisher, witness: Witness, url: str, answers: list[Answer], says: str
) -> None:
    before, waiting = head(publisher), iter(answers)
    witness.answer = lambda _: next(waiting)
    with pytest.raises(WitnessContradictsError, match=says):
        ask(settings, url, [witness.verifier])
    assert head(publisher) == before


def test_a_witness_that_cannot_be_reached_is_named(settings: Settings, publisher: Publisher, witness: Witness) -> None:
    with pytest.raises(WitnessError, match=r"127\.0\.0\.1:9 cannot be reached"):
        ask(settings, "http://127.0.0.1:9", [witness.verifier])


def test_a_cosignature_of_another_head_is_not_added(
    settings: Settings, publisher: Publisher, witness: Witness, tmp_path: Path
) -> None:
    file = tmp_path / "cosigned"
    file.write_bytes(head(publisher) + witness.line(text(publisher)))
    publisher.night(NIGHTS[1], rows(NIGHTS[1]))

    with pytest.raises(WitnessError, match="of 41 leaves was cosigned, and the published one has 82"):
        add(settings, file, [witness.verifier])
    root = text(publisher).replace(text(publisher).split(b"\n")[2], b"A" * 43 + b"=")
    file.write_bytes(root + b"\n" + witness.line(root))
    with pytest.raises(NoteError, match="another checkpoint"):
        add(settings, file, [witness.verifier])
    with pytest.raises(SettingsError, match="--witness"):
        add(settings, file, [])
    with pytest.raises(SettingsError, match="No such file"):
        add(settings, tmp_path / "nothing", [witness.verifier])


def test_a_cosignature_of_a_time_that_cannot_be_is_not_published(
    settings: Settings, publisher: Publisher, witness: Witness, url: str, tmp_path: Path
) -> None:
    """Whoever trusts the witness would find the set not valid, for good: a cosigned head stays."""
    for seconds in (0, 2**64 - 1):
        line = witness.line(text(publisher), seconds)
        (tmp_path / "cosigned").write_bytes(line)
        with pytest.raises(NoteError, match="no plausible time"):
            add(settings, tmp_path / "cosigned", [witness.verifier])
    assert not (publisher.root / "log/cosigned").exists()
    (publisher.root / "log/checkpoint").write_bytes(head(publisher) + line)
    assert "COSIGNATURE_WRONG" in check(publisher, witness)[1]


def test_a_witness_whose_clock_is_wrong_contradicts_no_cut(
    settings: Settings, publisher: Publisher, witness: Witness, url: str
) -> None:
    for hours in (-2, 2):
        line = witness.line(text(publisher), int(time.time()) + hours * 3600)
        witness.answer = Mock(return_value=(200, line))
        with pytest.raises(WitnessError, match="its clock or this machine's is wrong"):
            ask(settings, url, [witness.verifier])
    assert not (publisher.root / "log/cosigned").exists()


def test_only_keys_of_witnesses_are_witnesses_and_each_counts_once(tmp_path: Path, witness: Witness) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# two lines\n{witness.verifier.vkey}\n{witness.verifier.vkey}\n")
    assert witness_keys([file, file]) == [witness.verifier]
    twin = Verifier("witness.example/twin", COSIGNATURE_V1, witness.verifier.public_key)
    with pytest.raises(NoteError, match="the same public key"):
        check_witness_keys([witness.verifier, twin])
    file.write_text(SIGNER.verifier.vkey)
    with pytest.raises(SettingsError, match="the key of a log"):
        witness_keys([file])


def test_the_commands(
    settings: Settings, publisher: Publisher, witness: Witness, url: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, custody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:  # fmt: skip
    monkeypatch.setenv("CUSTODY_HOME", str(settings.home))
    key = settings.home / "keys/w1.pub"  # beside the key of the log, of which it is none
    key.write_text(witness.verifier.vkey)
    owners = str(settings.home / "keys/log.pub")
    assert custody("verify", "--key", owners, "--witness", str(key)).returncode == 2
    asked = custody("witness", "ask", url, "--witness", str(key))
    assert (asked.returncode, asked.stdout.encode()) == (0, head(publisher))
    added = custody("witness", "add", str(publisher.root / "log/checkpoint"), "--witness", str(key))
    assert (added.returncode, added.stdout.encode()) == (0, head(publisher))
    assert custody("witness", "add", str(key), "--witness", str(key)).returncode == 1
    assert custody("witness", "ask", "http://127.0.0.1:9", "--witness", str(key)).returncode == 2
    witness.answer = lambda _: (409, b"1000\n")
    assert custody("witness", "ask", url, "--witness", str(key)).returncode == 1
    assert custody("verify", "--key", str(key)).returncode == 64
    verified = custody("verify", "--key", owners, "--witness", str(key), "--json")
    assert verified.returncode == 0
    assert json.loads(verified.stdout)["checked"]["witnesses"] == {"valid": 1, "total": 1}


def test_every_night_asks_those_who_have_not_answered_and_none_stops_it(
    settings: Settings, publisher: Publisher, witness: Witness, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "witnesses"
    silent = Witness("witness.example/silent", 8).verifier.vkey
    file.write_text(f"# ours\n{witness.verifier.vkey} {url}\n\n{silent} http://127.0.0.1:9\n")

    asked = [ask_all(settings, file) for _ in range(2)]

    assert witness.asked == [0]
    for one in asked:
        assert one.cosigned == ("witness.example/w1",)
        assert len(one.problems) == 1
        assert "cannot be reached" in one.problems[0]
    assert check(publisher, witness)[0] == 0
    assert ask_all(settings, None) == Asked()


@pytest.mark.parametrize("text", ["x", "x y", f"{SIGNER.verifier.vkey} http://127.0.0.1:9", None])
def test_a_list_of_witnesses_that_is_none_is_told_with_the_form_of_one(
    settings: Settings, publisher: Publisher, tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "witnesses").write_text(text)
    (problem,) = ask_all(settings, tmp_path / "witnesses").problems
    assert problem.startswith("CUSTODY_WITNESSES: ")
    assert "https://witness.example" in problem


def test_where_nothing_is_published_there_is_nothing_to_cosign(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "witnesses").write_text("")
    assert len(ask_all(settings, tmp_path / "witnesses").problems) == 1


@pytest.mark.parametrize(
    "failure", [ProtocolError("cut off"), InconsistentHeadError("rolled back"), OSError(28, "full")]
)
def test_no_failure_of_a_witness_ends_a_published_night(
    settings: Settings, publisher: Publisher, witness: Witness, tmp_path: Path, failure: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fails(*_: object) -> None:
        raise failure

    (tmp_path / "witnesses").write_text(f"{witness.verifier.vkey} http://127.0.0.1:9\n")
    monkeypatch.setattr(witnesses, "_cosign", fails)
    assert len(ask_all(settings, tmp_path / "witnesses").problems) == 1


def test_an_answer_that_breaks_off_is_no_fault_of_ours(
    settings: Settings, publisher: Publisher, witness: Witness
) -> None:
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx") as url,
        pytest.raises(WitnessError, match="EOFError"),
    ):
        ask(settings, url, [witness.verifier])
