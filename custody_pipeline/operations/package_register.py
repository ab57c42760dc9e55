"""Packages that this home made: `$CUSTODY_HOME/package-register/<id>.json`.

Belongs here: who made which package, when, for whom and where; removing a package from this machine. Does not: making
packages (packaging.py), custody events of recordings (warehouse/ledger.py), volumes of a matter (matters/).

A package is registered before its first byte is written, so that the files of a killed process are found too. The
register names recordings by their ids, and stays when a package is removed.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from custody_pipeline.evidence.package.layout import TAG_MANIFEST
from custody_pipeline.io.clock import utc_now
from custody_pipeline.io.whole_file import found_in, is_going, read_json, remove_folder, write_whole
from custody_pipeline.settings import Settings


class Packed(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """A recording in a package. `night`: its partition, `YYYY-MM-DD`."""

    night: str
    conversation_id: str
    recording_id: str


class Package(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A package that was made, or is being made.

    Attributes:
        id: 32 hex digits.
        made_at: UTC, RFC 3339.
        folder: absolute path of the package.
        recordings: its content; empty until the package is made.
        sha256: of its tag manifest, hex; empty until it is made.
        removed_at: when this product removed it, UTC, RFC 3339; empty while it stays.
    """

    id: str
    made_at: str
    operator: str
    recipient: str
    reason: str
    folder: str
    recordings: tuple[Packed, ...] = ()
    sha256: str = ""
    removed_at: str = ""

    @property
    def draft(self) -> Path:
        """The folder in which the package is made."""
        folder = Path(self.folder)
        return folder.with_name(f".{folder.name}.{self.id[:8]}")

    @property
    def told(self) -> str:
        """Who made the package, when, for whom and why, for people."""
        whom = f"for {self.recipient}" if self.recipient else "for whom was not said (custody package --for)"
        return f"made on {self.made_at[:10]} by {self.operator}, {whom}: {self.reason}"

    def holds(self, ids: frozenset[str]) -> int:
        """The number of its recordings of conversations (`ids` in lower case)."""
        return sum(item.conversation_id.lower() in ids for item in self.recordings)

    def state(self) -> str:
        """`here`, `removed`, `gone` (moved or removed by somebody else), or `altered` (it has other content)."""
        if self.removed_at:
            return "removed"
        manifest = Path(self.folder, TAG_MANIFEST)
        if not Path(self.folder).exists():
            return "here" if is_going(Path(self.folder)) else "gone"
        if not manifest.is_file() or hashlib.sha256(manifest.read_bytes()).hexdigest() != self.sha256:
            return "altered"
        return "here"


def new_package(operator: str, recipient: str, reason: str, folder: Path) -> Package:
    """A package before its first byte is written."""
    return Package(
        secrets.token_hex(16), f"{utc_now():%Y-%m-%dT%H:%M:%S.%fZ}", operator, recipient, reason, str(folder)
    )


def packages_of(settings: Settings) -> list[Package]:
    """Every package that was made, oldest first.

    Raises:
        DamagedFileError: a file of the register is damaged.
    """
    return [package for package in _registered(settings) if package.sha256]


def _registered(settings: Settings) -> list[Package]:
    found = [read_json(path, Package) for path in found_in(_folder(settings), "*.json")]
    return sorted(found, key=lambda package: (package.made_at, package.id))


def _folder(settings: Settings) -> Path:
    return settings.home / "package-register"


def _path(settings: Settings, package: Package) -> Path:
    return _folder(settings) / f"{package.id}.json"


def keep_package(settings: Settings, package: Package) -> None:
    """Write the register of a package, in one step."""
    write_whole(_path(settings, package), msgspec.json.format(msgspec.json.encode(package), indent=1) + b"\n")


@contextmanager
def registered(settings: Settings, package: Package) -> Iterator[None]:
    """Register a package while it is made; a failure removes the entry and the draft."""
    _folder(settings).mkdir(parents=True, exist_ok=True)
    lock = FileLock(_path(settings, package).with_suffix(".lock"))
    try:
        with lock:
            keep_package(settings, package)
            yield
    except BaseException:
        shutil.rmtree(package.draft, ignore_errors=True)
        _path(settings, package).unlink(missing_ok=True)
        raise
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)


def remove_package(settings: Settings, package: Package) -> bool:
    """Remove a package's folder if it is as it was made; the register stays. Returns whether the folder was removed."""
    if package.state() != "here":
        return False
    remove_folder(Path(package.folder))
    keep_package(settings, msgspec.structs.replace(package, removed_at=f"{utc_now():%Y-%m-%dT%H:%M:%S.%fZ}"))
    return True


def remove_abandoned(settings: Settings) -> None:
    """Remove the drafts of killed processes. A draft that is being written is locked, and stays."""
    for package in _registered(settings):
        if package.sha256 and not package.draft.exists():
            continue
        path = _path(settings, package)
        try:
            with FileLock(path.with_suffix(".lock"), timeout=0):
                shutil.rmtree(package.draft, ignore_errors=True)
                if not Path(package.folder).exists():  # killed before the package was in its place
                    path.unlink(missing_ok=True)
        except Timeout:
            continue
        path.with_suffix(".lock").unlink(missing_ok=True)
