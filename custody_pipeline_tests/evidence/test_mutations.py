"""No simple change passes: each is a finding, soon, without a traceback, and nothing outside the target is opened.

A part of the mutants is run here; `make mutants` runs all. What takes the owner's key is in test_tampering.py and
test_package_contents.py.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from custody_pipeline_tests.evidence.mutants import (
    Check,
    Mutant,
    mutants,
    packaged,
    pairs,
    rewritten,
    single_files,
    small_set,
    tried,
)
from custody_pipeline_tests.evidence.test_package_contents import make_package, publish_with_audio


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Check]:
    return small_set(tmp_path_factory.mktemp("mutations") / "set")


def some(all_of_them: list[Mutant], number: int) -> list[Mutant]:
    return random.Random(number).sample(all_of_them, number)


def test_no_change_of_a_published_set_survives(published: tuple[Path, Check], tmp_path: Path) -> None:
    folder, check = published
    single = mutants(folder)
    chosen = some(single, 100) + pairs(single, 20)

    found = tried(folder, tmp_path / "copy", check, chosen)

    assert (found.made, found.survivors) == (120, [])


def test_no_rewriting_without_the_key_survives(published: tuple[Path, Check], tmp_path: Path) -> None:
    folder, check = published

    found = rewritten(folder, tmp_path / "copy", check, every=5)

    assert (found.made > 10, found.survivors) == (True, [])


def test_no_change_of_a_package_survives(tmp_path: Path) -> None:
    package = make_package(publish_with_audio(tmp_path / "published"), tmp_path / "package")
    single = mutants(package)

    found = tried(package, tmp_path / "copy", packaged, some(single, 250) + pairs(single, 50))

    assert (found.made, found.survivors) == (300, [])


def test_no_change_of_a_proof_or_a_checkpoint_survives(published: tuple[Path, Check], tmp_path: Path) -> None:
    folder, check = single_files(tmp_path / "files", published[0])

    found = tried(folder, tmp_path / "copy", check, mutants(folder), alone=True)

    assert (found.made > 30, found.survivors) == (True, [])


def test_no_bit_and_no_end_of_a_proof_is_free(published: tuple[Path, Check], tmp_path: Path) -> None:
    folder, check = single_files(tmp_path / "files", published[0])
    proof = folder / "one.tlog-proof"
    data = proof.read_bytes()
    for at in range(0, len(data), 5):
        proof.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        assert check(folder).status == 1, at
        proof.write_bytes(data[:at])
        assert check(folder).status == 1, at
