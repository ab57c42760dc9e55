"""A disk that fills, and kill -9 anywhere: nothing half-produced verifies, nothing half-held is unsaid."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app, main
from custody_pipeline.matters import volume_plan, volume_writer
from custody_pipeline.matters.holds import read_holds
from custody_pipeline.matters.register import Register, Volume, register_of
from custody_pipeline.operations.endings import ending_of
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline_tests.forked import forked
from custody_pipeline_tests.matters.conftest import Published
from custody_pipeline_tests.matters.test_production import index, verify

pytestmark = pytest.mark.server


def killed(text: str, number: int, *arguments: object) -> int:
    """Run a command that dies before its `number`-th change below `text`. Returns its status; -9 if it died."""
    process = forked(die_at, text, number, ["custody", *map(str, arguments)])
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def die_at(text: str, number: int, command: list[str]) -> None:
    """Run a command, and kill the process before the n-th change of a file whose path holds a text."""
    left = number

    def watch(event: str, given: tuple[object, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in ("os.rename", "os.remove")) and text in str(given[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    sys.argv = command
    main()


def produce(name: str, to: Path) -> tuple[int, str]:
    told = CliRunner().invoke(app, ["matter", "produce", name, "--to", str(to)])
    if isinstance(told.exception, Exception):
        line, status = ending_of(told.exception)
        return status, line
    return told.exit_code, told.stdout


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file can grow beyond 2,000 bytes: a recording cannot be written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_while_audio_is_copied_ends_in_a_line(
    night: Published, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    night.matter("filled", f"  ids: [{night.whole()[0]['recording_id']}]")
    request.getfixturevalue("small_files")
    status, line = produce("filled", tmp_path)
    assert (status, "\n" in line, "Traceback" in line) == (2, False, False)
    assert not (tmp_path / "VOL001").exists()
    (partial,) = tmp_path.glob(".VOL001.*")
    assert verify(night, partial).status != 0


def test_a_link_in_an_unfinished_volume_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("theirs")
    for linked in ("", "evidence", "evidence/data", "evidence/data/audio", "evidence/data/audio/A1.opus"):
        place = tmp_path / "partial" / linked
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(tmp_path / "theirs" / ("file" if place.suffix else ""))
        volume_writer._keep_audio_alone(tmp_path / "partial")
        assert not place.is_symlink()
        shutil.rmtree(tmp_path / "partial")
    assert [path.read_text() for path in (tmp_path / "theirs").iterdir()] == ["theirs"]


def test_the_unfinished_volume_of_another_matter_stays_as_it_is(night: Published, tmp_path: Path) -> None:
    night.matter("beside", f"  ids: [{night.whole()[0]['recording_id']}]")
    (tmp_path / ".VOL001.partial").mkdir()
    (tmp_path / ".VOL001.partial" / "index.csv").write_text("theirs")
    status, line = produce("beside", tmp_path)
    assert (status, "another production is written there" in line) == (2, True)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["index.csv"]
    status, line = produce("beside", tmp_path / ".VOL001.partial" / "index.csv")
    assert (status, "cannot be made (Not a directory); name another folder" in line) == (2, True)
    away = tmp_path / "away"
    (volume,) = register_with(night, "beside", away)
    assert Path(volume.folder).parent == away
    # Nothing of it is there any more: it is written where it is asked for now.
    assert produce("beside", tmp_path / "own")[0] == 0
    assert not away.exists()
    (tmp_path / "own" / "VOL001").rename(tmp_path / "renamed")
    assert verify(night, tmp_path / "renamed").facts["production"] == "VOL001"


def test_a_volume_that_was_begun_takes_no_folder_that_another_matter_made_meanwhile(
    night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed_here(*_: object) -> None:
        raise KeyboardInterrupt

    night.matter("mine", f"  ids: [{night.whole()[0]['recording_id']}]")
    night.matter("other", f"  ids: [{night.whole()[1]['recording_id']}]")
    for matter, module, step in (("mine", volume_plan, "_claim"), ("other", volume_writer, "list_production")):
        with monkeypatch.context() as patched:
            patched.setattr(module, step, killed_here)
            produce(matter, tmp_path)
    (theirs,) = tmp_path.glob(".VOL001.*")
    before = sorted(theirs.rglob("*"))
    status, line = produce("mine", tmp_path)
    assert (status, "another production is written there" in line) == (2, True)
    assert sorted(theirs.rglob("*")) == before
    assert produce("mine", tmp_path / "own")[0] == 0
    assert produce("other", tmp_path)[0] == 0
    assert [line["control_number"] for line in index(tmp_path / "VOL001")] == ["OTHER000001"]


def register_with(night: Published, name: str, to: Path) -> list[Volume]:
    """The volumes of a matter whose production was killed, and whose folder was removed since."""
    killed(str(to), 1, "matter", "produce", name, "--to", to)
    shutil.rmtree(to, ignore_errors=True)
    return list(register_of(night.settings, name).volumes())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("name", ["index.csv", "custody-log.json", "production-sha256.txt"])
def test_a_disk_that_fills_at_a_table_ends_in_a_line_and_the_production_goes_on(
    night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    matter = f"full-{name.partition('.')[0]}"
    night.matter(matter, f"  ids: [{night.whole()[0]['recording_id']}]")
    begin = volume_writer._keep_audio_alone

    def with_a_full_disk(folder: Path) -> None:
        begin(folder)
        (folder / name).symlink_to("/dev/full")

    with monkeypatch.context() as filled:
        filled.setattr(volume_writer, "_keep_audio_alone", with_a_full_disk)
        status, line = produce(matter, tmp_path)
    assert (status, "free some space" in line, "\n" in line) == (2, True, False)
    (partial,) = tmp_path.glob(".VOL001.*")
    assert verify(night, partial).status != 0
    assert produce(matter, tmp_path)[0] == 0
    assert verify(night, tmp_path / "VOL001").status == 0


@pytest.mark.slow
def test_a_production_that_is_killed_anywhere_goes_on_and_never_verifies_before_its_end(
    night: Published, tmp_path: Path
) -> None:
    ids = ", ".join(row["recording_id"] for row in night.whole()[:2])
    night.matter("shot", f"  ids: [{ids}]")
    killings = 0
    for number in (1, 2, 5, 9, 14, 19, 24, 29, 34):
        if killed(str(tmp_path), number, "matter", "produce", "shot", "--to", tmp_path) != -signal.SIGKILL:
            break
        killings += 1
        assert not (tmp_path / "VOL001").exists()
        for partial in tmp_path.glob(".VOL001.*"):
            assert verify(night, partial).status != 0 or (partial / "production-sha256.txt.sig").exists()
    assert killings >= 5
    if not (tmp_path / "VOL001").exists():
        assert produce("shot", tmp_path)[0] == 0
    assert verify(night, tmp_path / "VOL001").status == 0
    assert [line["control_number"] for line in index(tmp_path / "VOL001")] == ["SHOT000001", "SHOT000002"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_hold_that_is_killed_anywhere_leaves_nothing_held_unsaid(night: Published, number: int) -> None:
    name = f"shot-hold-{number}"
    night.matter(name, f"  ids: [{night.rows[0]['conversation_id']}]")
    assert killed(f"{name}{os.sep}.holds", number, "matter", "hold", name, "--apply") == -signal.SIGKILL
    listed = read_holds(register_of(night.settings, name)).conversations
    assert night.server.world.protected <= listed.keys()
    CliRunner().invoke(app, ["matter", "release", name, "--apply"])
    assert night.server.world.protected == set()


def test_two_commands_never_act_for_one_matter_at_once(night: Published, tmp_path: Path) -> None:
    night.matter("twice", f"  ids: [{night.whole()[0]['recording_id']}]")
    with register_of(night.settings, "twice").alone():
        status, line = produce("twice", tmp_path)
        held = CliRunner().invoke(app, ["matter", "hold", "twice", "--apply"])
    assert (status, "another command" in line, "another command" in str(held.exception)) == (2, True, True)
    assert (list(tmp_path.iterdir()), night.server.world.protected) == ([], set())
    (tmp_path / "VOL001").mkdir()
    register = register_of(night.settings, "twice")
    register.keep(Volume(1, str(tmp_path / "VOL001"), "", ()))
    status, line = produce("twice", tmp_path)
    assert (status, line.endswith("move that folder away")) == (2, True)


@pytest.mark.parametrize("where", ["before its events", "before its note", "before its events and removed"])
def test_a_volume_is_recorded_once_and_by_its_own_digest(
    night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    recording = night.whole()[2]["recording_id"]
    name = where.replace(" ", "-")
    night.matter(name, f"  ids: [{recording}]")

    with monkeypatch.context() as patched:
        if "events" in where:
            patched.setattr(volume_writer, "record_acts", Mock(side_effect=KeyboardInterrupt))
        else:
            patched.setattr(Register, "note", Mock(side_effect=KeyboardInterrupt))
        produce(name, tmp_path)
    assert not (tmp_path / "VOL001").exists()
    if "removed" in where:  # nobody has it, so that it is no volume that was moved
        shutil.rmtree(next(tmp_path.glob(".VOL001.*")))
    assert not next(register_of(night.settings, name).volumes()).is_finished
    assert produce(name, tmp_path)[0] == 0
    (volume,) = register_of(night.settings, name).volumes()
    assert volume.is_finished
    sha256 = hashlib.sha256((tmp_path / "VOL001" / "production-sha256.txt").read_bytes()).hexdigest()
    with Warehouse(night.settings).open(read_only=True) as con:
        told = con.execute(
            "SELECT sha256_after FROM raw.acts WHERE action = 'packaged' AND recording_id = ? AND why LIKE ?",
            [recording, f"matter {name}:%"],
        ).fetchall()
    assert told == [(sha256,)]
    assert [event["sha256"] for event in register_of(night.settings, name).events() if "sha256" in event] == [sha256]
