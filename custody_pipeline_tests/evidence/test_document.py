"""docs/verify.md does what it says: its commands are run, on a sealed set and on tampered ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from custody_pipeline.evidence.cut.proof import Prover
from custody_pipeline.evidence.package.signed_volume import list_production, sign_production
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline_tests.evidence.erasing import RECORDS, erase, placeholders
from custody_pipeline_tests.evidence.packages import sign_again
from custody_pipeline_tests.evidence.published import NIGHTS, OTHER, SIGNER, Publisher, publish
from custody_pipeline_tests.evidence.test_forgotten_keys import forget
from custody_pipeline_tests.evidence.test_package_contents import CHOSEN, make_package, publish_with_audio
from custody_pipeline_tests.evidence.test_tampering import edit_cut, rebuild_log, relist
from custody_pipeline_tests.evidence.witness import Witness

TEMPORARY = "/tmp/"  # noqa: S108 - what the document writes to
DOCUMENT = Path(__file__).parents[2] / "docs" / "verify.md"
FIRST = f"cuts/date={NIGHTS[0]}/r0001/"


WITNESS = Witness()


@pytest.fixture
def copy(copy: Path) -> Path:
    """A copy whose head, and the one of its first night, a witness has seen."""
    return seen(copy)


def seen(copy: Path) -> Path:
    (copy / "log/cosigned").mkdir()
    for size, path in ((41, FIRST + "checkpoint"), (424, "log/checkpoint")):
        data = (copy / path).read_bytes()
        (copy / f"log/cosigned/{size}").write_bytes(data + WITNESS.line(data.partition(b"\n\n")[0] + b"\n"))
    (copy / "log/checkpoint").write_bytes((copy / "log/cosigned/424").read_bytes())
    return copy


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(original: Publisher, tmp_path: Path) -> Run:
    """Runs the document on a folder, with a pin and a proof of the original unless others are given."""
    return partial(run_document, tmp_path / "work", published=original)


def run_document(
    work: Path, folder: Path, *shell: str, published: Publisher, proof_of: Publisher | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the whole document as one shell script; its /tmp is the test's own folder."""
    work.mkdir(exist_ok=True)
    for script in blocks("python"):
        name = script.partition("\n")[0].removeprefix("# ")
        (work / name).write_text(script.replace(TEMPORARY, f"{work}/"), "utf-8")
    pinned, proof = work / "pinned", work / "one.tlog-proof"
    pinned.write_bytes(published.sealed[1].checkpoint.note.data)
    prover = proof_of or published
    keys = [signer.verifier for signer in prover.signers]
    proof.write_bytes(next(Prover(FolderReader(prover.root), keys).each([f"{NIGHTS[2]}-r0123"])).data)
    environment = {
        "PATH": f"{work}:{os.environ['PATH']}",
        "FOLDER": str(folder),
        "KEY": SIGNER.verifier.vkey,
        "PINNED": str(pinned),
        "WITNESS": WITNESS.verifier.vkey,
        "PROOF": str(proof),
        "AUTHORITY": str(work / "authority.pem"),
        "LC_ALL": "C.UTF-8",
        **more,
    }
    (work / "python3").unlink(missing_ok=True)
    (work / "python3").symlink_to(sys.executable)
    script = "\n".join(blocks("sh")).replace(TEMPORARY, f"{work}/")
    return subprocess.run(
        ["bash", *(shell or ("-euo", "pipefail", "-c")), script], env=environment, capture_output=True, text=True
    )


def test_the_commands_accept_the_sealed_set(run: Run, copy: Path) -> None:
    done = run(copy)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SIGNER.verifier.fingerprint}  -" in done.stdout
    assert "41 leaves were seen by witness.example/w1 on 2026-11-05 00:00:00 UTC" in done.stdout
    assert "ok: 4 cuts, 424 leaves" in done.stdout
    assert f'"recording_id":"{NIGHTS[2]}-r0123"' in done.stdout


def test_the_commands_heed_no_signature_of_another_name(run: Run, copy: Path) -> None:
    """Anybody who can write to the set can add such lines, and the specification allows them."""
    head = copy / "log/checkpoint"
    head.write_bytes(head.read_bytes().replace(b"\n\n", "\n\n— somebody.example AAAAAAAA\n".encode(), 1))

    done = run(copy)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (FIRST + "data/gaps.parquet", "data/gaps.parquet: FAILED"),
        (FIRST + "data/records.ndjson", "data/records.ndjson: FAILED"),
        (FIRST + "cut.json", "cut.json: FAILED"),
        (FIRST + "checkpoint", "wrong signature"),
        ("log/checkpoint", "wrong signature"),
        ("log/cosigned/41", "wrong cosignature"),
    ],
)
def test_the_commands_refuse_a_changed_byte(run: Run, copy: Path, path: str, says: str) -> None:
    data = bytearray((copy / path).read_bytes())
    at = len(data) // 2
    if path.startswith("log/") or path.endswith("checkpoint"):
        lines = data.split(b"\n")
        at = data.index(lines[-2 if "cosigned" in path else 4]) + 90
        data[at] = ord("A") if data[at] != ord("A") else ord("B")  # base64 still
    else:
        data[at] ^= 1
    (copy / path).write_bytes(data)

    done = run(copy)

    assert done.returncode != 0
    assert says in done.stdout + done.stderr


def test_the_commands_end_in_a_failure_without_the_help_of_the_shell(run: Run, copy: Path) -> None:
    """Neither `set -e` nor the last cut decides."""
    (copy / FIRST / "data/extra.csv").write_bytes(b"x")

    done = run(copy, "-c")

    assert done.returncode != 0
    assert f"{FIRST}: altered, or a file too many" in done.stdout


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (FIRST + "data/cut.json.tsr", f"{FIRST}: altered, or a file too many"),
        (FIRST + "cut.json.tsr", f"{FIRST}: a timestamp that cut.json does not know"),
        ("cuts/date=2026-11-02/notes.txt", "files beside the cuts:\ncuts/date=2026-11-02/notes.txt"),
        ("cuts/.hidden/r0001/cut.json", "files beside the cuts:\ncuts/.hidden/r0001/cut.json"),
        ("a link", "links or pipes:\n./a link"),
    ],
)
def test_the_commands_refuse_what_is_no_part_of_a_cut(run: Run, copy: Path, path: str, says: str) -> None:
    if path == "a link":
        (copy / path).symlink_to(copy / "cuts")
    else:
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes(b"x")

    done = run(copy, "-euc")

    assert done.returncode != 0
    assert says in done.stdout


def test_the_commands_check_timestamps(
    run: Run, authority: tuple[Callable[[bytes], bytes], bytes], tmp_path: Path
) -> None:
    stamp, root = authority
    stamped = publish(tmp_path / "set", timestamp=stamp)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/authority.pem").write_bytes(root)
    seen(stamped.root)

    assert run(stamped.root, "-euc", published=stamped).returncode == 0

    # In ten years, when the authority's certificate has expired.
    openssl = tmp_path / "work/openssl"
    openssl.write_text(
        f'#!/bin/sh\ncase "$*" in "ts -verify"*-attime*) ;; "ts -verify"*) set -- "$@" -attime 2111111111 ;; esac\n'
        f'exec {shutil.which("openssl")} "$@"\n'
    )
    openssl.chmod(0o700)
    assert run(stamped.root, "-euc", published=stamped).returncode == 0

    timestamp = stamped.root / FIRST / "cut.json.tsr"
    timestamp.write_bytes((stamped.root / f"cuts/date={NIGHTS[1]}/r0001/cut.json.tsr").read_bytes())
    done = run(stamped.root, "-euc", published=stamped)
    assert (done.returncode, f"{FIRST}: no valid timestamp" in done.stdout) == (1, True)


def test_the_commands_refuse_a_proof_whose_head_somebody_else_signed(run: Run, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "forged").mkdir()
    forged = publish(tmp_path / "forged", signers=(OTHER,))

    done = run(copy, "-euc", proof_of=forged)

    assert done.returncode != 0
    assert "proof.checkpoint: wrong signature" in done.stdout


def test_the_commands_refuse_a_set_without_its_newest_nights(run: Run, copy: Path) -> None:
    for night, revision in ((NIGHTS[2], 1), (NIGHTS[1], 2), (NIGHTS[1], 1)):
        folder = copy / f"cuts/date={night}/r{revision:04d}"
        for file in sorted(folder.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        folder.rmdir()
    (copy / "log/checkpoint").write_bytes((copy / FIRST / "checkpoint").read_bytes())

    done = run(copy)
    assert done.returncode != 0
    assert "pinned is not a head of this log" in done.stderr


def test_the_commands_refuse_a_log_that_a_witness_has_seen_longer(run: Run, copy: Path) -> None:
    """Without a checkpoint of one's own, too."""
    shutil.rmtree(copy / f"cuts/date={NIGHTS[2]}")
    (copy / "log/checkpoint").write_bytes((copy / f"cuts/date={NIGHTS[1]}/r0002/checkpoint").read_bytes())

    done = run(copy)
    assert done.returncode != 0
    assert "log/cosigned/424 is not a head of this log" in done.stderr


def test_the_commands_accept_a_set_from_which_somebody_was_erased(run: Run, publisher: Publisher, copy: Path) -> None:
    erase(publisher)

    done = run(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok: 5 cuts, 465 leaves" in done.stdout

    (copy / f"cuts/date={NIGHTS[1]}/r0001/data/gaps.parquet").unlink()
    assert run(copy).returncode != 0


def test_the_commands_accept_a_night_whose_key_was_forgotten(run: Run, publisher: Publisher, copy: Path) -> None:
    forget(publisher)

    done = run(copy)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_refuse_a_record_that_is_hidden_in_its_own_cut(run: Run, copy: Path) -> None:
    """The owner keeps a record's leaf and hides the record, without a statement: only remains may have such lines."""
    file = copy / FIRST / RECORDS
    file.write_bytes(placeholders(file.read_bytes(), 3))
    edit_cut(copy, FIRST, relist(copy, FIRST, RECORDS), SIGNER)
    rebuild_log(copy, SIGNER)

    done = run(copy)

    assert done.returncode != 0
    assert "does not lead to its signed checkpoint" in done.stderr


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A production of two recordings."""
    root = tmp_path_factory.mktemp("volume")
    make_package(publish_with_audio(root / "set"), root / "VOL001/evidence")
    (root / "VOL001/index.csv").write_text("control_number\n")
    list_production(root / "VOL001")
    sign_production(root / "VOL001", [SIGNER])
    return root / "VOL001"


def test_the_commands_accept_a_package_and_a_production(run: Run, copy: Path, volume: Path) -> None:
    done = run(copy, "-euc", VOLUME=str(volume), PACKAGE=str(volume / "evidence"))

    assert (done.returncode, done.stderr) == (0, "")


def _listed_again(volume: Path) -> None:
    sign_again(volume / "evidence", [SIGNER])
    list_production(volume)
    sign_production(volume, [SIGNER])


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    ("path", "data"),
    [
        (f"evidence/data/audio/{CHOSEN[0]}.opus", b"other"),
        (f"evidence/data/audio/{CHOSEN[0]}.opus", None),
        (f"evidence/data/audio/{CHOSEN[0]}.wav", b"more"),
        (f"evidence/data/records/{CHOSEN[0]}.json", b"{}"),
        (f"evidence/data/records/{CHOSEN[0]}.json", None),
        (f"evidence/data/records/{CHOSEN[0]}.tlog-proof", None),
        ("evidence/data/package.json", b'{"records":[]}'),
    ],
)
def test_the_commands_refuse_a_production_that_contradicts_its_proofs(
    run: Run, copy: Path, volume: Path, tmp_path: Path, path: str, data: bytes | None, again: bool
) -> None:
    """Also one that the owner of the key signed."""
    other = tmp_path / "VOL001"
    shutil.copytree(volume, other)
    (other / path).unlink() if data is None else (other / path).write_bytes(data)
    if again:
        _listed_again(other)

    assert run(copy, "-euc", VOLUME=str(other)).returncode != 0


@pytest.mark.parametrize("path", ["extra.csv", "evidence/extra", "index.csv"])
def test_the_commands_refuse_a_production_with_another_file(
    run: Run, copy: Path, volume: Path, tmp_path: Path, path: str
) -> None:
    other = tmp_path / "VOL001"
    shutil.copytree(volume, other)
    (other / path).write_bytes(b"x")

    assert run(copy, "-euc", VOLUME=str(other)).returncode != 0


def test_each_script_is_plain_python_of_forty_lines() -> None:
    scripts = blocks("python")

    assert len(scripts) == 2
    for script in scripts:
        lines = [line for line in script.splitlines() if line.strip()]
        assert len(lines) <= 40
        imported = {
            name for line in lines if line.startswith(("import ", "from ")) for name in re.findall(r"\w+", line)[1:]
        }
        assert imported <= sys.stdlib_module_names
