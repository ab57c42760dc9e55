"""How old the newest head may be, and by which clock: an older state of a log is valid, but not the newest."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from custody_pipeline.evidence.cut.manifest import Clock
from custody_pipeline.evidence.cut.proof import Prover
from custody_pipeline.evidence.reader import FolderReader
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify, verify_path
from custody_pipeline.publish.claims import clock_compared
from custody_pipeline_tests.evidence.published import SIGNER, Publisher, rows
from custody_pipeline_tests.evidence.reports import codes
from custody_pipeline_tests.evidence.witness import Witness

WITNESS = Witness()
NIGHT, NEXT = "2020-01-02", "2020-01-03"
NOW = datetime.now(UTC)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def publish(root: Path, *sealed: datetime, **changes: Any) -> Publisher:
    """A night for each time of sealing."""
    publisher = Publisher(root)
    for night, time in zip((NIGHT, NEXT), sealed, strict=False):
        publisher.night(night, rows(night, count=3), sealed_at=f"{time:%Y-%m-%dT%H:%M:%SZ}", **changes)
    return publisher


def check(path: Path, since: datetime | None = None, *, witnessed: bool = False) -> tuple[int, set[str]]:
    witnesses = [WITNESS.verifier] if witnessed else []
    options = Options([SIGNER.verifier], seen_since=since, witnesses=witnesses)
    report: Report = verify_path(path, options) if path.is_file() else verify(FolderReader(path), options)
    return report.status, codes(report) - {"NO_PINNED_CHECKPOINT", "NOT_TIMESTAMPED"}


def cosign(file: Path, time: datetime) -> None:
    text = file.read_bytes().partition(b"\n\n")[0] + b"\n"
    file.write_bytes(file.read_bytes() + WITNESS.line(text, int(time.timestamp())))


@pytest.mark.parametrize(
    ("promise", "since", "expected"),
    [
        (None, None, (0, set())),
        (9, None, (0, set())),
        (2, None, (2, {"HEAD_STALE"})),
        (2, ago(6), (0, set())),
        (9, ago(4), (1, {"HEAD_OLDER"})),
        (None, ago(4), (1, {"HEAD_OLDER"})),
    ],
)
def test_a_log_of_five_days_ago_keeps_to_its_promise_and_to_the_time_that_is_asked_for(
    tmp_path: Path, promise: int | None, since: datetime | None, expected: tuple[int, set[str]]
) -> None:
    publish(tmp_path, ago(6), ago(5), newer_within_days=promise)

    assert check(tmp_path, since) == expected


@pytest.mark.parametrize(("promise", "since"), [(9, None), (None, ago(4)), (None, None)])
def test_a_head_that_is_dated_ahead_is_not_new_for_ever(
    tmp_path: Path, promise: int | None, since: datetime | None
) -> None:
    """The owner says of the newest cut that it was sealed in a year that nobody here will see."""
    publish(tmp_path, ago(6), datetime(9999, 12, 31, 23, 59, tzinfo=UTC), newer_within_days=promise)

    assert check(tmp_path, since) == (1, {"TIME_WRONG"})


def test_an_older_head_that_a_witness_cosigned_is_not_the_newest(tmp_path: Path) -> None:
    """Witnesses prove that the log only grew. The newest night was dropped, and the head before it put back."""
    publish(tmp_path, ago(9), ago(1))
    (tmp_path / "log/checkpoint").write_bytes((tmp_path / f"cuts/date={NIGHT}/r0001/checkpoint").read_bytes())
    cosign(tmp_path / "log/checkpoint", ago(8))
    for folder in [*tmp_path.glob(f"*/date={NEXT}"), *tmp_path.glob(f"*/*/date={NEXT}")]:
        shutil.rmtree(folder)
    for file in (f"current/date={NEXT}.json", "log/tile/0/000.p/8"):
        (tmp_path / file).unlink()

    assert check(tmp_path, witnessed=True) == (0, set())
    assert check(tmp_path, ago(7), witnessed=True) == (1, {"HEAD_OLDER"})


def test_a_head_that_a_witness_saw_later_was_the_newest_then(tmp_path: Path) -> None:
    publish(tmp_path, ago(9), newer_within_days=2)
    cosign(tmp_path / "log/checkpoint", ago(1))

    assert check(tmp_path) == (2, {"HEAD_STALE"})
    assert check(tmp_path, witnessed=True) == (0, set())
    assert check(tmp_path, ago(2), witnessed=True) == (0, set())


def test_what_holds_no_time_is_not_called_new(tmp_path: Path) -> None:
    publisher = publish(tmp_path / "set", ago(3))
    head = tmp_path / "checkpoint"
    shutil.copyfile(publisher.root / "log/checkpoint", head)
    proof = tmp_path / "one.tlog-proof"

    def prove_one() -> None:
        (found,) = Prover(FolderReader(publisher.root), [SIGNER.verifier]).each([f"{NIGHT}-r0001"])
        proof.write_bytes(found.data)

    prove_one()
    for path in (head, proof):
        status, codes = check(path, ago(4))
        assert (status, codes - {"PROOF_ALONE"}) == (2, {"HEAD_AGE_UNKNOWN"})
    for file in (head, publisher.root / "log/checkpoint"):
        cosign(file, ago(2))
    prove_one()
    for path in (head, proof):
        assert check(path, ago(3), witnessed=True)[0] == 0
        assert check(path, ago(1), witnessed=True)[0] == 1


def test_a_cut_and_a_file_of_it_are_as_old_as_the_cut(tmp_path: Path) -> None:
    cut = publish(tmp_path, ago(3)).root / f"cuts/date={NIGHT}/r0001"

    for path in (cut, cut / "data/gaps.parquet"):
        assert [check(path, ago(days))[0] for days in (4, 2)] == [0, 1]
        assert "NOT_WITNESSED" in check(path, witnessed=True)[1]


@pytest.mark.parametrize(("stated", "expected"), [(None, (1, {"TIME_WRONG"})), (-10_800, (0, {"CLOCK_OFF"}))])
def test_a_home_whose_clock_was_hours_behind_says_so_or_contradicts_the_cut_before(
    tmp_path: Path, stated: int | None, expected: tuple[int, set[str]]
) -> None:
    publisher = publish(tmp_path, ago(2))
    clock = None if stated is None else Clock("system", "store", stated)
    behind = f"{ago(2) - timedelta(hours=2.5):%Y-%m-%dT%H:%M:%SZ}"
    publisher.night(NEXT, rows(NEXT, count=3), sealed_at=behind, clock=clock)

    assert check(tmp_path) == expected


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        ("Fri, 06 Nov 2026 10:00:00 GMT", 0),
        ("Fri, 06 Nov 2026 09:59:59 GMT", 0),
        ("Fri, 06 Nov 2026 09:59:50 GMT", 9),
        ("Fri, 06 Nov 2026 10:02:00 GMT", -118),
        ("", None),
        ("soon", None),
    ],
)
def test_a_clock_is_compared_with_what_the_server_told_between_question_and_answer(
    date: str, ahead: int | None
) -> None:
    asked = datetime(2026, 11, 6, 10, 0, 0, 400_000, UTC)
    clock = clock_compared(asked, date, asked + timedelta(seconds=2))

    assert (clock and clock.ahead_seconds) == ahead
