"""Volumes of a matter that hold what is erased: to whom they went is told, and what was made here goes."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import msgspec
import pytest

from custody_pipeline.evidence.package.layout import TAG_MANIFEST
from custody_pipeline.evidence.package.signed_volume import LIST
from custody_pipeline.forgetting import places
from custody_pipeline.matters.register import Produced, Volume, new_matter, register_of
from custody_pipeline.operations.package_register import Packed, keep_package, new_package, packages_of
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.ledger import Actor

GONE = frozenset({"c1"})


def test_a_volume_that_was_handed_over_is_told_with_its_receiver_and_goes_if_it_is_what_was_made(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path / "home")
    new_matter(settings, "smith", "Smith", "1", {"ids": ["c1"]})
    register = register_of(settings, "smith")
    made = hashlib.sha256(b"the list").hexdigest()
    for number, (conversation, content) in enumerate(
        [("C1", b"the list"), ("c1", b"of somebody else"), ("c2", b"the list"), ("c1", None), ("c1", None)], 1
    ):
        recording = Produced(f"A{number}", conversation, f"r{number}", "2026-11-02", "0" * 64, "0" * 64)
        volume = Volume(number, str(tmp_path / f"VOL00{number}"), "0" * 64, (recording,), made)
        register.keep(volume)
        if content is not None:
            (tmp_path / volume.name).mkdir()
            (tmp_path / volume.name / LIST).write_bytes(content)
        elif number == 5:  # a production that was killed
            volume.partial.mkdir()
    register.note(Actor("me", "0.1.0", None), "handed VOL001 to Jane Roe, Roe LLP, courier")

    (tmp_path / "home/matters/smith.yaml").rename(tmp_path / "home/matters/smith.old")  # what it made is still there
    found = list(places.productions(settings, GONE))

    told = {place.where.rsplit("/", 1)[1]: place.note for place in found}
    assert list(told) == ["VOL001", "VOL002", "VOL004", "VOL005"]
    assert "handed VOL001 to Jane Roe, Roe LLP, courier: nobody can call that back" in told["VOL001"]
    assert "it stays" in told["VOL002"]
    assert "look where it was moved to" in told["VOL004"]
    places.remove_productions(settings, GONE)
    left = sorted(path.name for path in tmp_path.iterdir() if path.name != "home")
    assert left == ["VOL002", "VOL003"]
    assert [volume.name for volume in register.volumes()] == [f"VOL00{number}" for number in range(1, 6)]
    assert [volume.state() for volume in register.volumes()] == ["removed", "altered", "here", "gone", "gone"]
    assert [event["what"] for event in register.told()[1:]] == ["VOL001 removed by an erasure"]
    assert not any(map(register.is_lost, register.volumes())), "the one that went was handed over"


@pytest.mark.parametrize("linked", [False, True])
def test_a_removal_that_is_killed_is_ended_and_one_through_a_link_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    settings = Settings(home=tmp_path / "home")
    register = register_of(settings, "smith")
    recording = Produced("A1", "c1", "r1", "2026-11-02", "0" * 64, "0" * 64)
    packed = Packed("2026-11-02", "c1", "r1")
    digest = hashlib.sha256(b"the list").hexdigest()
    register.keep(Volume(1, str(tmp_path / "VOL001"), "0" * 64, (recording,), digest))
    package = new_package("me", "", "request", tmp_path / "package")
    keep_package(settings, msgspec.structs.replace(package, recordings=(packed,), sha256=digest))
    for name, listed in (("VOL001", LIST), ("package", TAG_MANIFEST)):
        folder = tmp_path / "far" / name if linked else tmp_path / name
        folder.mkdir(parents=True)
        (folder / listed).write_bytes(b"the list")
        (folder / "audio.wav").write_bytes(b"of the person")
        if linked:
            (tmp_path / name).symlink_to(folder)

    def killed(folder: Path) -> None:
        for listed in (LIST, TAG_MANIFEST):
            (folder / listed).unlink(missing_ok=True)
        raise KeyboardInterrupt

    for remove in (places.remove_productions, places.remove_packages):
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "rmtree", killed)
            with pytest.raises(KeyboardInterrupt):
                remove(settings, GONE)
        remove(settings, GONE)
    assert sorted(path.name for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "home")) == (
        ["far"] if linked else []
    )
    assert [item.state() for item in packages_of(settings)] == ["removed"]
    (volume,) = register.volumes()
    assert (volume.state(), register.is_lost(volume), list(register.produced())) == ("removed", True, [])
