"""No night vanishes: one that failed, and one that nobody collected, has a state wherever nights are listed."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import permutations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from custody_pipeline.alerts.dispatch import NightAlerts
from custody_pipeline.alerts.night_alerts import night_alerts
from custody_pipeline.cli import main as command_line
from custody_pipeline.defs.nightly import nights_to_recheck
from custody_pipeline.fleet.overview import analyst_database, overview
from custody_pipeline.io.document_store import FolderStore
from custody_pipeline.io.night_keys import LocalWrapping, NightKeys
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.run import refresh_events, run_models
from custody_pipeline.models.verdict import verdict_of
from custody_pipeline.operations.explain import GapFilter, gaps, unsettled
from custody_pipeline.operations.fixity import altered_since_recheck
from custody_pipeline.operations.night_report import night_report, scope_of_night
from custody_pipeline.operations.summary import nights
from custody_pipeline.publish.current_copies import Publication
from custody_pipeline.publish.publication import record_publication
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse import night_states as calendar
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts
from custody_pipeline.warehouse.night_states import ASKED_AT_ONCE, mark_nights, night_states, unpublished
from custody_pipeline.warehouse.snapshot import SnapshotError, snapshot_for_analysts
from custody_pipeline.warehouse.sql_files import load_models
from custody_pipeline_tests import ready_warehouse

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

MONDAY = date(2026, 11, 2)
TUESDAY, WEDNESDAY, THURSDAY = (MONDAY + timedelta(days=number) for number in (1, 2, 3))
NOW = datetime(2026, 11, 5, 4)
"""Thursday at four: Wednesday's night is due, Thursday has not ended."""


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "utc_now", lambda: NOW)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, export_url="s3://exports", publish_url="s3://dataset", first_night=MONDAY)


@pytest.fixture(scope="module")
def modelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse in which Monday is modelled."""
    made = Settings(home=tmp_path_factory.mktemp("modelled"))
    ready_warehouse.lay(made.home)
    with Warehouse(made).open() as con:
        model(con, made, MONDAY)
    return made.warehouse_path


@pytest.fixture
def monday(settings: Settings, modelled: Path) -> None:
    """Monday is modelled in the test's own warehouse."""
    shutil.copyfile(modelled, settings.warehouse_path)


def fail(con: duckdb.DuckDBPyConnection, night: date, at: datetime = NOW) -> None:
    act = Act(night, "exception", "step exports failed", "s3://exports answered 403", "nightly", occurred_at=at)
    append_acts(con, Actor.of(None), [act])


def model(con: duckdb.DuckDBPyConnection, settings: Settings, night: date) -> None:
    run_models(con, load_models(), night, load_mapping(settings.mapping_path), settings)


def published(con: duckdb.DuckDBPyConnection, night: date) -> None:
    con.execute(
        "INSERT INTO raw.publications BY NAME SELECT ? AS partition_date, 1 AS revision, ? AS published_at",
        [night, NOW],
    )


def states(settings: Settings) -> dict[date, str]:
    return {night.night: str(night.state) for night in nights(settings)}


def test_every_night_from_the_first_one_on_has_a_state(settings: Settings) -> None:
    assert states(settings) == dict.fromkeys((WEDNESDAY, TUESDAY, MONDAY), "missing")
    with Warehouse(settings).open() as con:
        fail(con, TUESDAY)
    assert states(settings) == {WEDNESDAY: "missing", TUESDAY: "failed", MONDAY: "missing"}
    assert [night.detail for night in nights(settings)] == ["", "step exports failed: s3://exports answered 403", ""]


@pytest.mark.usefixtures("monday")
def test_gaps_counts_nights_that_failed_or_were_missed_since_the_snapshot(settings: Settings) -> None:
    with Warehouse(settings).open() as con:
        con.execute("UPDATE custody.nights SET completeness = 'established'")
        published(con, MONDAY)
        snapshot_for_analysts(con, settings)
        assert unsettled(settings, GapFilter()) == 0  # another command holds the warehouse
        fail(con, TUESDAY)
    assert unsettled(settings, GapFilter()) == 2
    assert unsettled(settings, GapFilter(last=TUESDAY)) == 1
    assert unsettled(settings, GapFilter(MONDAY - timedelta(days=9), MONDAY)) == 9  # nobody knows of these nights


@pytest.mark.usefixtures("monday")
def test_a_night_whose_last_run_failed_is_not_said_to_be_complete(settings: Settings) -> None:
    with Warehouse(settings).open() as con:
        con.execute("UPDATE custody.nights SET completeness = 'established', collected_at = TIMESTAMP '2026-11-03'")
        assert (verdict_of(con, MONDAY)[:14], night_report(con, scope_of_night(MONDAY)).tone) == (
            "Complete? Yes.",
            "good",
        )
        fail(con, MONDAY)
        sentence = "Complete? It cannot be said yet. The last run failed; see custody status."
        assert NightAlerts(MONDAY, con, settings, NOW, (), "failed", None)._verdict == sentence
        mark_nights(con, settings)
        assert verdict_of(con, MONDAY) == sentence
        assert night_report(con, scope_of_night(MONDAY)).tone == "odd"


def test_a_night_is_missing_only_when_its_run_is_due(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "utc_now", lambda: NOW.replace(hour=2))
    assert WEDNESDAY not in states(settings)


def test_without_a_first_night_only_nights_between_known_ones_are_missing(settings: Settings) -> None:
    settings = settings.model_copy(update={"first_night": None})
    assert states(settings) == {}
    with Warehouse(settings).open() as con:
        fail(con, MONDAY)
    assert states(settings) == {MONDAY: "failed"}
    with Warehouse(settings).open() as con:
        fail(con, WEDNESDAY)
    assert states(settings) == {WEDNESDAY: "failed", TUESDAY: "missing", MONDAY: "failed"}


CLOCKS = [timedelta(), timedelta(days=40), timedelta(days=-40)]


@pytest.mark.parametrize("clocks", list(permutations(CLOCKS)))
def test_no_clock_decides_whether_the_last_run_failed(settings: Settings, clocks: tuple[timedelta, ...]) -> None:
    def say(con: duckdb.DuckDBPyConnection, what: str, at: datetime) -> None:
        if what == "fails":
            fail(con, MONDAY, at)
        elif what == "is published":
            content = Publication(MONDAY, 1, "00", "established", (), "", "")
            record_publication(con, content, Actor.of(None), at)
        else:
            append_acts(con, Actor.of(None), [Act(MONDAY, "rechecked", "revision 1", "", "", occurred_at=at)])

    with Warehouse(settings).open() as con:
        for order in permutations(("fails", "is published", "is rechecked")):
            for what, step in zip(order, clocks, strict=True):
                say(con, what, NOW + step)
            assert night_states(con, settings)[MONDAY].state == ("failed" if order[-1] == "fails" else "open"), order


def test_a_ledger_of_an_earlier_version_is_in_order_of_time(settings: Settings) -> None:
    with Warehouse(settings).open() as con:
        con.execute(
            "INSERT INTO raw.publications BY NAME SELECT ? AS partition_date, 1 AS revision, ? AS published_at",
            [MONDAY, NOW],
        )
        fail(con, MONDAY, NOW + timedelta(hours=1))
        for table in ("acts", "fixity_checks", "publications"):
            con.execute(f"ALTER TABLE raw.{table} DROP COLUMN position")
    with Warehouse(settings).open(read_only=True) as con:
        assert night_states(con, settings)[MONDAY].state == "failed"
        assert altered_since_recheck(con) == {}
    with Warehouse(settings).open() as con:
        act = Act(MONDAY, "rechecked", "revision 1", "", "", occurred_at=NOW - timedelta(days=9))
        append_acts(con, Actor.of(None), [act])
        assert night_states(con, settings)[MONDAY].state == "open", "what has a position is later than what has none"


@pytest.mark.usefixtures("monday")
def test_a_failure_is_noted_where_the_models_tables_are_those_of_an_earlier_version(settings: Settings) -> None:
    events = "SELECT action FROM custody.custody_events WHERE conversation_id = ''"
    with Warehouse(settings).open() as con:
        con.execute('ALTER TABLE staging.documents DROP COLUMN "sequence"')
        fail(con, MONDAY)
        for alone in (True, False):
            refresh_events(con, MONDAY, about_night_alone=alone)
        assert night_states(con, settings)[MONDAY].state == "failed"
        assert con.execute(events).fetchall() == []
        model(con, settings, MONDAY)
        assert con.execute(events).fetchall() == [("exception",)]


@pytest.mark.usefixtures("monday")
@pytest.mark.parametrize("opened", [overview, analyst_database])
def test_a_query_says_that_an_earlier_version_made_the_tables(
    opened: Callable[[Settings], AbstractContextManager[Any]], settings: Settings
) -> None:
    def fails(query: str) -> pytest.ExceptionInfo[Exception]:
        with pytest.raises((SnapshotError, duckdb.BinderException)) as caught, opened(settings) as con:
            con.execute(query)
        return caught

    with Warehouse(settings).open() as con:
        snapshot_for_analysts(con, settings)
    assert fails("SELECT tag_kees FROM custody.gaps").errisinstance(duckdb.BinderException)
    with Warehouse(settings).open() as con:
        con.execute("ALTER TABLE custody.gaps DROP COLUMN tag_keys")
        snapshot_for_analysts(con, settings)
    told = "an earlier version of custody made the tables of this home (no gaps.tag_keys): run its nights again"
    assert told in str(fails("SELECT tag_keys FROM custody.gaps").value)


@pytest.mark.usefixtures("monday")
def test_gaps_that_an_earlier_version_made_are_not_filtered_by_a_tag_that_they_do_not_name(settings: Settings) -> None:
    row = "INSERT INTO custody.gaps BY NAME SELECT ?::DATE AS partition_date, 'TAG_NEVER_SET' AS reason, ? AS proofs"
    with Warehouse(settings).open() as con:
        con.execute(row, [MONDAY, None])
        con.execute(row, [TUESDAY, []])
        snapshot_for_analysts(con, settings)
    with pytest.raises(SnapshotError, match=f"made the gaps of {MONDAY}, without the tags"):
        gaps(settings, GapFilter(tag="Legal-Hold"))
    assert gaps(settings, GapFilter(first=TUESDAY, tag="Legal-Hold"))[1] == []


def test_a_failure_counts_until_the_night_is_published(settings: Settings) -> None:
    with Warehouse(settings).open() as con:
        published(con, MONDAY)
        assert night_states(con, settings)[MONDAY].state == "open"
        fail(con, MONDAY, NOW + timedelta(hours=1))
        assert night_states(con, settings)[MONDAY].state == "failed"
        act = Act(MONDAY, "rechecked", "revision 1", "run again", "compared", occurred_at=NOW + timedelta(hours=2))
        append_acts(con, Actor.of(None), [act])
        assert night_states(con, settings)[MONDAY].state == "open"


@pytest.mark.usefixtures("monday")
def test_a_night_that_was_modelled_and_never_published_has_failed(settings: Settings) -> None:
    """A full disk can keep even the failure from being noted."""
    with Warehouse(settings).open() as con:
        found = night_states(con, settings)[MONDAY]
        assert (found.state, found.detail) == ("failed", "no run has published this night")
        # Another run may be about to publish it: its row stays.
        mark_nights(con, settings)
        assert con.execute("SELECT state FROM custody.nights ORDER BY partition_date").fetchone() == ("open",)
        published(con, MONDAY)
        assert night_states(con, settings)[MONDAY].state == "open"


@pytest.mark.usefixtures("monday")
def test_a_recheck_asks_for_failed_and_missing_nights(settings: Settings) -> None:
    with Warehouse(settings).open() as con:
        published(con, MONDAY)
        fail(con, TUESDAY)
    assert nights_to_recheck(settings) == {
        "2026-11-02": "recheck of a night that is open: not everything was there yet",
        "2026-11-03": "recheck of a night that is failed: step exports failed: s3://exports answered 403",
        "2026-11-04": "recheck of a night that is missing: nobody collected it",
    }
    keys = NightKeys(LocalWrapping([bytes(32)]), FolderStore(Path(settings.night_keys)))
    assert keys.of(TUESDAY)
    keys.forget(TUESDAY, "ab" * 16, "2026-12-01T00:00:00Z")
    assert list(nights_to_recheck(settings)) == ["2026-11-02", "2026-11-04"]


def test_so_many_missing_nights_are_asked_for_at_a_time_the_newest_ones(settings: Settings) -> None:
    long_ago = settings.model_copy(update={"first_night": date(2025, 1, 1)})
    asked = list(unpublished(night_states(None, long_ago)))
    assert asked == [WEDNESDAY - timedelta(days=number) for number in reversed(range(ASKED_AT_ONCE))]


@pytest.mark.usefixtures("monday")
def test_readers_of_custody_nights_see_failed_and_missing_nights(settings: Settings) -> None:
    listed = "SELECT state, completeness FROM custody.nights ORDER BY partition_date"
    with Warehouse(settings).open() as con:
        fail(con, TUESDAY)
        for _ in range(2):
            mark_nights(con, settings)
            assert con.execute(listed).fetchall() == [
                (state, "not_established") for state in ("open", "failed", "missing")
            ]
        model(con, settings, WEDNESDAY)
        mark_nights(con, settings)
        assert [state for state, _ in con.execute(listed).fetchall()] == ["open", "failed", "open"]


@pytest.mark.parametrize("is_modelled", [False, True])
def test_a_night_that_failed_is_alerted(settings: Settings, is_modelled: bool, request: pytest.FixtureRequest) -> None:
    if is_modelled:
        request.getfixturevalue("monday")
    with Warehouse(settings).open() as con:
        fail(con, TUESDAY)
        found = night_states(con, settings)
        alerts = {
            night: [a.reason for a in night_alerts(con, night, reasons=[], now=NOW, state=found[night].state)]
            for night in (TUESDAY, WEDNESDAY)
        }
    assert alerts == {TUESDAY: ["NIGHT_FAILED"], WEDNESDAY: ["NIGHT_MISSING"]}


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["custody", *arguments])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as stopped:
        command_line.main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.mark.usefixtures("monday")
def test_gaps_of_a_night_that_nobody_collected_are_unknown_not_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(settings.home))
    monkeypatch.chdir(tmp_path)
    with Warehouse(settings).open() as con:
        con.execute("UPDATE custody.nights SET collected_at = now()::TIMESTAMP")
        mark_nights(con, settings)
        snapshot_for_analysts(con, settings)
    assert ended(monkeypatch, "gaps", "--date", "2026-11-02") == 0
    for night, command in product((TUESDAY, date(2020, 1, 1)), (["gaps"], ["sheet", "gaps"])):
        capsys.readouterr()
        assert ended(monkeypatch, *command, "--date", str(night)) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err == f"the night of {night} was never collected: custody status tells its state\n"
    assert not list(tmp_path.glob("*.xlsx"))
    assert ended(monkeypatch, "sheet", "gaps", "--date", "2026-11-02") == 0
    assert "1 night is failed, missing or not established" in capsys.readouterr().err
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    for command in (["gaps"], ["report"], ["sheet", "gaps"], ["run"]):
        assert ended(monkeypatch, *command, "--date", str(tomorrow)) == 64


@pytest.mark.usefixtures("monday")
def test_the_report_knows_of_a_run_that_failed_since_the_snapshot(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(settings.home))
    with Warehouse(settings).open() as con:
        con.execute("UPDATE custody.nights SET completeness = 'established', collected_at = TIMESTAMP '2026-11-03'")
        published(con, MONDAY)
        snapshot_for_analysts(con, settings)
    assert ended(monkeypatch, "report", "--date", "2026-11-02") == 0
    with Warehouse(settings).open() as con:
        fail(con, MONDAY)
    capsys.readouterr()
    assert ended(monkeypatch, "report", "--date", "2026-11-02") == 2
    told = capsys.readouterr().out
    assert told.endswith("It cannot be said yet. The last run failed; see custody status.\n")
    page = Path(told.splitlines()[0]).read_text()
    assert "established, and its last run failed" in page


@pytest.mark.usefixtures("monday")
@pytest.mark.parametrize(
    ("tag", "ends", "told"),
    [
        ("legal-hold", 0, ""),
        ("Legal-Hodl", 2, "; the nearest is Legal-Hold\n"),
        ("zz", 2, "the mapping does not name it\n"),
    ],
)
def test_a_tag_that_nobody_looked_for_is_not_without_gaps(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tag: str,
    ends: int,
    told: str,
) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(settings.home))
    with Warehouse(settings).open() as con:
        snapshot_for_analysts(con, settings)
    assert ended(monkeypatch, "gaps", "--tag", tag) == ends
    assert told in capsys.readouterr().err


def test_status_lists_missing_nights_on_one_line_and_ends_with_findings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"HOME": settings.home, "FIRST_NIGHT": MONDAY}.items():
        monkeypatch.setenv(f"CUSTODY_{name}", str(value))
    with Warehouse(settings).open() as con:
        fail(con, WEDNESDAY)
    assert ended(monkeypatch, "status") == 1
    told = capsys.readouterr().out
    assert "missing, nobody collected them: 2026-11-02 to 2026-11-03\n" in told
    assert "2026-11-04 failed: step exports failed: s3://exports answered 403" in told
    # Nothing was counted, and the last line is the next step.
    assert "2026-11-04  failed    –           –         –     –         –            –" in told
    assert "→ Solve the cause, or wait for the vendor, then run the night again" in told


def test_status_without_a_night_names_the_home(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(settings.home))
    assert ended(monkeypatch, "status") == 2
    assert f"no night yet in {settings.home}: " in capsys.readouterr().err
