"""Mutants of verified files, one at a time, and the list of the harmless ones.

Verified files are published sets, packages, productions, proofs and checkpoints.

`python -m custody_pipeline_tests.evidence.mutants` runs all of them; the tests run a part of them each time.

Belongs here: the list of mutants, and running them. Does not: the single changes (mutations.py).
"""

from __future__ import annotations

import csv
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path

import msgspec
import pyarrow as pa

from custody_pipeline.evidence.cut import manifest as cuts
from custody_pipeline.evidence.cut.proof import Prover
from custody_pipeline.evidence.cut.seal import CLAIM, Claimed
from custody_pipeline.evidence.cut.workbook import write_workbook
from custody_pipeline.evidence.package.check import verify_package
from custody_pipeline.evidence.package.signed_volume import list_production, sign_production, verify_production
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify, verify_path
from custody_pipeline_tests.evidence.erasing import erase
from custody_pipeline_tests.evidence.mutations import Change, changed, file_changes, json_changes
from custody_pipeline_tests.evidence.published import NIGHTS, SIGNER, Publisher, rows

SECONDS = 5.0
"""The longest that one mutant may take; the untouched sets here take a tenth of a second."""

HARMLESS = {
    # A partial tile (`.p/`) that only an earlier head needs: the verifier reads the tiles of the newest head.
    "a tile of an earlier head": re.compile(r"log/tile/.*\.p/\d+: (removed|made an empty folder)"),
    # The check of one file does not read its neighbours; a folder with the same proof in its place is checked, too.
    "a file that is checked alone": re.compile(
        r"(checkpoint|one\.tlog-proof): copied under another name|one\.tlog-proof: made a folder"
    ),
    # RFC 8259 allows white space after a value, and a pointer has no signature.
    "a line feed after a pointer": re.compile(r"current/.*: extended by a line"),
    # A pointer to a cut of an earlier version, as in `small_set`, may state null for `complete`, or true or false.
    "a pointer to an earlier version's cut": re.compile(r"current/.*: complete: None"),
    # Nothing below sealing/ is evidence; a claim without its optional members states that no seal is under way.
    "no claim": re.compile(
        r"sealing/head: (removed|made an empty folder|extended by a line|(pending|agreed): removed)"
    ),
}
"""Mutants that may pass, and why."""

MASKED = ("ani", "dnis", "row_sha256", "sidecar_sha256")
"""Columns that the mutants' masked package withholds."""

Check = Callable[[Path], Report]


@dataclass(frozen=True)
class Mutant:
    """One change to one file, or several of them at once."""

    changes: tuple[tuple[Path, str, Change], ...]

    @property
    def name(self) -> str:
        """The name in reports, which `HARMLESS` matches."""
        return " and ".join(self._names)

    @property
    def harmless(self) -> bool:
        """Whether each of its changes may pass."""
        return all(any(known.fullmatch(name) for known in HARMLESS.values()) for name in self._names)

    @property
    def _names(self) -> list[str]:
        return [f"{file}: {what}" for file, what, _ in self.changes]


@dataclass
class Tried:
    """The number of mutants, and the wrong results."""

    made: int = 0
    survivors: list[str] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)
    slowest: float = 0.0


def small_set(root: Path, nights: int = 2) -> tuple[Path, Check]:
    """Two nights; the second revision of the later one erases a conversation. The newest head is pinned."""
    publisher = Publisher(root)
    report = {"report/report.html": b"<p>report</p>\n", "report/rows/gaps.csv": b"reason\r\n"}
    if nights > 1:
        publisher.night(NIGHTS[0], rows(NIGHTS[0], count=2), more=report)
    publisher.night(NIGHTS[1], rows(NIGHTS[1], count=5), more=report)
    erase(publisher, more=report)
    head = publisher.sealed[-1].checkpoint.head
    publisher.put(CLAIM, msgspec.json.encode(Claimed(head.size, head.root.hex())))
    pins = [publisher.sealed[-1].checkpoint.note.data]
    return root, lambda folder: verify(FolderReader(folder), Options([SIGNER.verifier], pinned=pins))


def packaged(folder: Path) -> Report:
    """The check of a package."""
    return verify_package(folder, Options([SIGNER.verifier]))


def produced(folder: Path) -> Report:
    """The check of a production."""
    return verify_production(folder, Options([SIGNER.verifier]))


def production(root: Path, package: Path) -> Path:
    """A production around a package: tables and a page beside it."""
    shutil.copytree(package, root / "evidence")
    (root / "report.html").write_text("report of the volume\n")
    index, load_file = (
        "control_number,conversation_id,recording_id,sha256\r\n",
        "BEGDOC CONVERSATIONID RECORDINGID SHA256HASH",
    )
    tables = [load_file.split()]
    for path in sorted((root / "evidence/data/records").glob("*.json")):
        if not list((root / "evidence/data/audio").glob(f"{path.stem}.*")):
            continue
        row = msgspec.json.decode(path.read_bytes())
        tables.append([path.stem, row["conversation_id"], row["recording_id"], row["media_sha256"] or ""])
        index += ",".join(tables[-1]) + "\r\n"
    (root / "index.csv").write_text(index, newline="")
    write_index_workbook(root)
    lines = ["\xfe" + "\xfe\x14\xfe".join(line) + "\xfe\r\n" for line in tables]
    (root / "loadfile.dat").write_text("\ufeff" + "".join(lines), "utf-8", newline="")
    list_production(root)
    sign_production(root, [SIGNER])
    return root


def write_index_workbook(root: Path) -> None:
    """The spreadsheet with the content of `index.csv`."""
    names, *lines = list(csv.reader((root / "index.csv").read_text("utf-8-sig").splitlines()))
    columns = [[line[number] for line in lines] for number in range(len(names))]
    table = pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)})
    write_workbook(root / "index.xlsx", "index", table.to_reader())


def single_files(root: Path, published: Path) -> tuple[Path, Check]:
    """A proof and a checkpoint, each checked by itself: the result depends on neither folder nor name."""
    root.mkdir()
    (proof,) = Prover(FolderReader(published), [SIGNER.verifier]).each([f"{NIGHTS[1]}-r0001"])
    (root / "one.tlog-proof").write_bytes(proof.data)
    shutil.copyfile(published / "log/checkpoint", root / "checkpoint")

    def check(folder: Path) -> Report:
        whole = Report(str(folder))
        for name in ("one.tlog-proof", "checkpoint"):
            report = verify_path(folder / name, Options([SIGNER.verifier]))
            whole.valid += report.valid
            for found in report.findings:
                whole.add(found.code, found.path, found.detail)
        return whole

    return root, check


def mutants(original: Path) -> list[Mutant]:
    """Every file × every change, and every JSON node × every other value."""
    files = sorted(path.relative_to(original) for path in original.rglob("*") if path.is_file())
    made: list[Mutant] = []
    for number, file in enumerate(files):
        data = (original / file).read_bytes()
        changes: Iterator[tuple[str, Change]] = file_changes(original / file, original / files[number - 1])
        made += [
            Mutant(((file, what, change),))
            for what, change in changes
            if not _is_same(original, file, what, files[number - 1])
        ]
        made += [Mutant(((file, what, partial(_written, changed)),)) for what, changed in json_changes(data)]
    return made


def _written(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _is_same(original: Path, file: Path, what: str, sibling: Path) -> bool:
    """Exchanging a file for an equal one is no change."""
    return what == "exchanged for another" and (original / file).read_bytes() == (original / sibling).read_bytes()


def pairs(single: Sequence[Mutant], among: Callable[[Path], bool] = lambda _: True) -> list[Mutant]:
    """Two changes at once, in two files: each kind of change to each kind of file, with each other such pair of kinds.

    Every member of a kind has its turn. Files are of one kind if their paths differ in digits alone.

    Args:
        single: what the pairs are made of.
        among: at least one of the two files satisfies it.
    """
    kinds: dict[tuple[str, str], list[Mutant]] = {}
    for mutant in single:
        ((file, what, _),) = mutant.changes
        kinds.setdefault((re.sub(r"[0-9]+", "#", file.as_posix()), _kind_of(what)), []).append(mutant)
    made = []
    for number, (one, two) in enumerate(combinations_with_replacement(kinds.values(), 2)):
        (first,) = one[number % len(one)].changes
        others = (two[(number + shift) % len(two)].changes[0] for shift in range(len(two)))
        second = next((other for other in others if other[0] != first[0]), None)
        if second is not None and (among(first[0]) or among(second[0])):
            made.append(Mutant((first, second)))
    return made


def _kind_of(what: str) -> str:
    """The kind of a change, by its name."""
    if what in _KINDS:
        return _KINDS[what]
    if what.startswith("flipped"):
        return "altered"
    return "JSON member" if what.endswith((": removed", ": renamed", ": twice", "a member more")) else "JSON value"


_KINDS = {
    what: kind
    for kind, names in {
        "gone": ("removed", "renamed", "renamed by case", "renamed by Unicode form"),
        "shorter": ("emptied", "truncated", "halved"),
        "longer": ("extended by NUL", "extended by a line", "made huge", "doubled"),
        "altered": ("exchanged for another",),
        "there twice": ("copied under another name",),
        "no file": ("made a folder", "made an empty folder", "made a link", "made a link to a folder", "made a pipe"),
    }.items()
    for what in names
}


class _Watch:
    """Files that are opened outside a folder, as Python's audit hook sees them; a hook stays for ever."""

    def __init__(self) -> None:
        self.inside: str | None = None
        self.outside: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.inside is None or event != "open" or not isinstance(arguments[0], str | bytes):
            return
        path = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode(errors="replace")
        ours = (self.inside, sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]))
        if path.startswith("/") and not path.startswith(ours):
            self.outside.append(path)


_WATCH = _Watch()


def tried(
    original: Path, copy: Path, check: Check, chosen: Sequence[Mutant], alone: bool = False, verdict: int = 0
) -> Tried:
    """Make each mutant in a copy; its check must soon end with a finding, without a traceback, within the copy.

    `alone`: one file is checked by itself, and may also be reported as absent. `verdict`: the status of the unchanged
    copy.
    """
    shutil.copytree(original, copy)
    assert check(copy).status == verdict, check(copy).summary()
    result = Tried()
    for mutant in chosen:
        with ExitStack() as stack:
            for file, _, change in mutant.changes:
                stack.enter_context(changed(original, copy, file, change))
            result.made += 1
            _WATCH.inside, _WATCH.outside = str(copy), []
            started = time.process_time()
            try:
                status: object = check(copy).status
            except Exception as error:  # noqa: BLE001 - a mutant with any exception is a survivor
                status = type(error).__name__
            took = time.process_time() - started
            _WATCH.inside = None
            result.slowest = max(result.slowest, took)
            if status == verdict and mutant.harmless:
                result.explained.append(mutant.name)
            elif status not in ((1, 2) if alone else (1,)) or _WATCH.outside or took > SECONDS:
                result.survivors.append(f"{mutant.name}: {status}, {took:.1f} s, opened {_WATCH.outside[:2]}")
    assert check(copy).status == verdict, "each change was undone"
    return result


def rewritten(original: Path, copy: Path, check: Check, every: int = 1) -> Tried:
    """Change each field of the newest `cut.json`, and compute anew the values without a key: places, tiles, heads."""
    from custody_pipeline_tests.evidence.test_tampering import rebuild_log

    result = Tried()
    path = f"cuts/date={NIGHTS[1]}/r0002/cut.json"
    for what, data in list(json_changes((original / path).read_bytes()))[::every]:
        try:
            encoded = cuts.encode_cut(msgspec.json.decode(data, type=cuts.Cut))
        except (cuts.CutError, msgspec.DecodeError):
            continue  # the change leaves no readable cut.json: the mutants of the file have that case
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(original, copy)
        (copy / path).write_bytes(encoded)
        rebuild_log(copy)
        if (copy / path).read_bytes() == (original / path).read_bytes():
            continue  # the changed field is the place, and was computed anew
        result.made += 1
        if (status := check(copy).status) != 1:
            result.survivors.append(f"{what}: {status}")
    return result


def main() -> None:
    """Run every mutant, and a pair of each two kinds; print how many there were and which survived."""
    from custody_pipeline_tests.evidence.test_package_contents import make_package, publish_with_audio

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        published, check = small_set(root / "set")
        night, check_night = small_set(root / "night", nights=1)
        package = make_package(publish_with_audio(root / "other"), root / "package")
        volume = production(root / "volume", package)
        masked = make_package(publish_with_audio(root / "masked"), root / "masked-package", masked=MASKED)
        masked_volume = production(root / "masked-volume", masked)
        files, check_files = single_files(root / "files", published)
        _tell("published set, rewritten without the key", rewritten(published, root / "forged", check))
        _tell("proof and checkpoint", tried(files, root / "1", check_files, mutants(files), alone=True))
        _tell("package", tried(package, root / "2", packaged, mutants(package)))
        _tell("package, two files", tried(package, root / "3", packaged, pairs(mutants(package))))
        beside = [mutant for mutant in mutants(volume) if is_beside_evidence(mutant.changes[0][0])]
        _tell("production", tried(volume, root / "4", produced, beside))
        both = pairs(mutants(volume), is_beside_evidence)
        _tell("production, two files", tried(volume, root / "5", produced, both))
        _tell("masked package", tried(masked, root / "8", packaged, mutants(masked), verdict=2))
        _tell("masked package, two files", tried(masked, root / "9", packaged, pairs(mutants(masked)), verdict=2))
        beside = [mutant for mutant in mutants(masked_volume) if is_beside_evidence(mutant.changes[0][0])]
        _tell("masked production", tried(masked_volume, root / "10", produced, beside, verdict=2))
        both = pairs(mutants(masked_volume), is_beside_evidence)
        _tell("masked production, two files", tried(masked_volume, root / "11", produced, both, verdict=2))
        _tell("published set", tried(published, root / "6", check, mutants(published)))
        _tell("published night, two files", tried(night, root / "7", check_night, pairs(mutants(night))))


def is_beside_evidence(file: Path) -> bool:
    """Whether a file of a production is none of the package in it, whose mutants are tried by themselves."""
    return file.parts[0] != "evidence"


def _tell(what: str, found: Tried) -> None:
    explained = f"{len(found.explained)} passed and are harmless, {len(found.survivors)} survived"
    print(f"{what}: {found.made} mutants, {explained}; the slowest took {found.slowest:.2f} s", flush=True)
    for name in found.survivors:
        print(f"  {name}", flush=True)


if __name__ == "__main__":
    main()
