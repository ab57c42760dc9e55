"""No simple change passes: each is a finding, soon, without a traceback, and nothing outside the target is opened.

A part of the mutants is run here; `make mutants` runs all. What takes the owner's key is in test_tampering.py and
test_package_contents.py.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from custody_pipeline.evidence.package.signed_volume import list_production, sign_production
from custody_pipeline.evidence.package.volume_tables import LOAD_COLUMNS, load_value
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.matters import production_tables
from custody_pipeline_tests.evidence.mutants import (
    MASKED,
    Check,
    Mutant,
    is_beside_evidence,
    mutants,
    packaged,
    pairs,
    produced,
    production,
    rewritten,
    single_files,
    small_set,
    tried,
)
from custody_pipeline_tests.evidence.published import SIGNER
from custody_pipeline_tests.evidence.reports import errors
from custody_pipeline_tests.evidence.test_package_contents import CHOSEN, make_package, publish_with_audio


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Check]:
    return small_set(tmp_path_factory.mktemp("mutations") / "set", nights=1)


def some(all_of_them: list[Mutant], number: int) -> list[Mutant]:
    return random.Random(number).sample(all_of_them, number)


def test_no_change_of_a_published_set_survives(published: tuple[Path, Check], tmp_path: Path) -> None:
    folder, check = published
    single = mutants(folder)
    chosen = some(single, 100) + some(pairs(single), 20)

    found = tried(folder, tmp_path / "copy", check, chosen)

    assert (found.made, found.survivors) == (120, [])


def test_no_rewriting_without_the_key_survives(published: tuple[Path, Check], tmp_path: Path) -> None:
    folder, check = published

    found = rewritten(folder, tmp_path / "copy", check, every=5)

    assert (found.made > 10, found.survivors) == (True, [])


def test_no_change_of_a_package_survives(tmp_path: Path) -> None:
    package = make_package(publish_with_audio(tmp_path / "published"), tmp_path / "package")
    single = mutants(package)

    found = tried(package, tmp_path / "copy", packaged, some(single, 250) + some(pairs(single), 50))

    assert (found.made, found.survivors) == (300, [])


def test_no_change_of_a_production_survives(tmp_path: Path) -> None:
    package = make_package(publish_with_audio(tmp_path / "published"), tmp_path / "package")
    volume = production(tmp_path / "volume", package)
    outside = [mutant for mutant in mutants(volume) if is_beside_evidence(mutant.changes[0][0])]

    found = tried(volume, tmp_path / "copy", produced, outside)

    assert (found.made > 100, found.survivors) == (True, [])


def test_no_change_of_what_is_masked_survives(tmp_path: Path) -> None:
    """Unchanged it is not verified: nobody can check what is shown of a masked record. Changed it is not valid."""
    publisher = publish_with_audio(tmp_path / "published")
    package = make_package(publisher, tmp_path / "package", masked=MASKED)
    volume = production(tmp_path / "volume", package)
    outside = [mutant for mutant in mutants(volume) if is_beside_evidence(mutant.changes[0][0])]

    inside = tried(package, tmp_path / "inside", packaged, some(mutants(package), 150), verdict=2)
    beside = tried(volume, tmp_path / "beside", produced, some(outside, 50), verdict=2)

    assert (inside.made, inside.survivors, beside.survivors) == (150, [], [])


def test_index_and_load_file_cannot_contradict_the_records(tmp_path: Path) -> None:
    """Even where the producer signs them."""
    package = make_package(publish_with_audio(tmp_path / "published"), tmp_path / "package")
    volume = production(tmp_path / "volume", package)
    assert produced(volume).status == 0
    changes: list[Callable[[bytes], bytes]] = [
        lambda data: data.replace(b"-r00", b"-r99", 1),
        lambda data: data.replace(b"-c00", b"-c99", 1),
        lambda data: data[: data[:-2].rindex(b"\r\n") + 2],
        lambda data: data + data[data[:-2].rindex(b"\r\n") + 2 :],
        lambda data: data.replace(b"onversation", b"onversatiom", 1).replace(b"CONVERSATION", b"CONVERSATIOM", 1),
        lambda data: data + b"x\r\n",
        lambda data: data + b"\xff\xff\r\n",
        lambda data: b"",
    ]
    for name in ("index.csv", "loadfile.dat"):
        before = (volume / name).read_bytes()
        for number, change in enumerate(changes):
            assert change(before) != before
            (volume / name).write_bytes(change(before))
            list_production(volume)
            sign_production(volume, [SIGNER])
            codes = errors(produced(volume))
            assert codes == {"PACKAGE_INCONSISTENT"}, (name, number)
        (volume / name).write_bytes(before)


def test_tables_of_a_production_repeat_the_records_and_each_other(tmp_path: Path) -> None:
    """Whatever the producer signs: every column that repeats a record, and the spreadsheet cell by cell."""
    package = make_package(publish_with_audio(tmp_path / "published"), tmp_path / "package")
    volume = production(tmp_path / "volume", package)
    rows = list(csv.DictReader((volume / "index.csv").read_text().splitlines()))
    evidence = volume / "evidence/data/records"
    for row in rows:
        record = json.loads((evidence / f"{row['control_number']}.json").read_bytes())
        audio = f"evidence/data/audio/{row['control_number']}.opus"
        row |= {
            "date": "11/02/2026", "time": "05:00:00", "time_zone": "America/New_York (-0500)", "agent_ids": "",
            "duration": f"00:00:0{int(record['duration_ms']) // 1000}", "custom_data_legal_hold":
            record["custom_data_legal_hold"] or "", "status": record["custody_status"], "agent_names": "Jane Roe",
            "file_name": audio.rpartition("/")[2], "native_path": audio.replace("/", "\\"),
            "bytes": str((volume / audio).stat().st_size),
        }  # fmt: skip
        row["agent_ids"] = "; ".join(str(item) for item in json.loads(record["user_ids"] or "[]"))

    def verdict(change: dict[str, str], *, loaded: bool = False, in_workbook: bool = False) -> set[str]:
        told = [{**row, **(change if number == 1 else {})} for number, row in enumerate(rows)]
        production_tables.write_csv(volume / "index.csv", rows if loaded or in_workbook else told, list(told[0]))
        production_tables.write_xlsx(volume / "index.xlsx", rows if loaded else told, list(told[0]))
        text = "\r\n".join("\xfe" + "\xfe\x14\xfe".join(line) + "\xfe" for line in load_lines(told if loaded else rows))
        (volume / "loadfile.dat").write_text("\ufeff" + text + "\r\n", "utf-8", newline="")
        list_production(volume)
        sign_production(volume, [SIGNER])
        return {f"{found.code} {found.path}" for found in produced(volume).of(Severity.ERROR)}

    assert verdict({}) == set()
    changes = {name: "x" for name in rows[0] if name not in {"control_number", "agent_names", "md5"}}
    changes |= {"date": "11/03/2026", "time": "05:00:01", "time_zone": "America/New_York (-0400)", "bytes": "1"}
    for name, value in changes.items():
        assert "PACKAGE_INCONSISTENT index.csv" in verdict({name: value}), name
        assert verdict({name: value}, in_workbook=True) == {"PACKAGE_INCONSISTENT index.xlsx"}, name
        if name in LOAD_COLUMNS.values():
            assert verdict({name: value}, loaded=True) == {"PACKAGE_INCONSISTENT loadfile.dat"}, name
    load_file = (volume / "loadfile.dat").read_bytes()
    (volume / "loadfile.dat").write_bytes(load_file.replace(CHOSEN[0].encode(), b"other", 1))
    list_production(volume)
    sign_production(volume, [SIGNER])
    assert "PACKAGE_INCONSISTENT" in errors(produced(volume))
    assert verdict({"agent_names": "=1+1"}, in_workbook=True) == {"PACKAGE_INCONSISTENT index.xlsx"}
    assert verdict({"agent_names": "somebody"}, loaded=True) == {"PACKAGE_INCONSISTENT loadfile.dat"}


def load_lines(rows: list[dict[str, str]]) -> list[list[str]]:
    fields = {field: column for field, column in LOAD_COLUMNS.items() if column in rows[0]}
    return [list(fields), *([load_value(row[column]) for column in fields.values()] for row in rows)]


def test_every_field_of_a_load_file_is_described() -> None:
    assert list(production_tables._LOAD_FIELDS) == list(LOAD_COLUMNS)


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
