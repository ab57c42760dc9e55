"""A night that fails leaves a custody event that says so."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import boto3
import dagster as dg
import duckdb
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from moto import mock_aws

from custody_pipeline.definitions import defs
from custody_pipeline.defs.failures import again_in, failing_step, is_whole_night, note_failure
from custody_pipeline.defs.instance import open_instance, release_dead_runs, run_night
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.load.raw_tables import RAW_TABLES
from custody_pipeline.models.mapping_file import MappingError, load_mapping
from custody_pipeline.settings import load_settings
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline_tests import ready_warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from custody_pipeline.warehouse.sql_files import SqlModel

NIGHT = date(2026, 11, 2)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patched, mock_aws():
        ready_warehouse.lay(tmp_path)
        patched.setenv("CUSTODY_HOME", str(tmp_path))
        patched.setenv("CUSTODY_EXPORT_URL", "s3://no-such-bucket")
        patched.setenv("CUSTODY_PUBLISH_URL", "s3://no-such-bucket/prod")
        patched.setenv("CUSTODY_OPERATOR", "nightly")
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield tmp_path


def exceptions(home: Path) -> list[tuple[str, ...]]:
    with Warehouse(load_settings()).open(read_only=True) as con:
        found: list[tuple[str, ...]] = con.execute(
            "SELECT conversation_id, operator, what, why, where_at FROM raw.acts WHERE action = 'exception'"
        ).fetchall()
    return found


def test_a_failed_step_is_an_exception_of_its_night(home: Path) -> None:
    result = run_night(load_settings(), NIGHT)
    assert not result.success
    assert list(result.failed_steps) == ["exports"]
    (found,) = exceptions(home)
    assert found[:3] == ("", "nightly", "step exports failed")
    assert found[3] == result.failed_steps["exports"]
    assert result.run_id in found[4]
    with open_instance(load_settings()) as instance:
        run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/retry_on_asset_or_op_failure"] == "false"  # a permanent error
    assert "dagster/will_retry" not in run.tags or run.tags["dagster/will_retry"] == "false"


def test_a_night_that_is_materialized_from_its_assets_notes_a_failure_and_some_assets_of_it_do_not(home: Path) -> None:
    """Dagster runs a backfill that begins on the page of the assets in a job of its own, without hooks of ours."""
    job = defs.resolve_implicit_global_asset_job_def()
    some = [dg.AssetKey(["raw", table]) for table in RAW_TABLES["exports"]]
    whole = list(defs.resolve_job_def("nightly_custody").asset_layer.selected_asset_keys)
    with open_instance(load_settings()) as instance:
        for chosen in (some, whole):
            job.execute_in_process(
                instance=instance, partition_key=str(NIGHT), asset_selection=chosen, raise_on_error=False
            )
    ((_, operator, what, *_),) = exceptions(home)
    assert (operator, what) == ("nightly", "step exports failed")


def test_a_check_that_a_person_runs_on_a_page_is_no_night() -> None:
    """It may fail because S3 does not answer: the published night has not failed."""
    copies = frozenset({dg.AssetCheckKey(dg.AssetKey(["published", "gaps"]), "copies_as_sealed")})
    assert not is_whole_night(dg.DagsterRun("__ASSET_JOB", asset_check_selection=copies))
    assert is_whole_night(dg.DagsterRun("nightly_custody", asset_selection=frozenset()))


def test_a_refused_mapping_fails_a_step_once_with_the_message_of_the_command_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "tags.yaml").write_text("version: 1\ncolumns: []\n")
    monkeypatch.setenv("CUSTODY_MAPPING_PATH", str(home / "tags.yaml"))
    with pytest.raises(MappingError) as expected:
        load_mapping(home / "tags.yaml")
    deployment = Deployment()
    with pytest.raises(dg.Failure) as failed:
        deployment.night(NIGHT)
    assert (failed.value.description, failed.value.allow_retries) == (str(expected.value), False)


def test_a_failed_check_is_an_exception_that_names_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3.client("s3").create_bucket(Bucket="no-such-bucket")

    def offending(_con: object, check: SqlModel, *_: object) -> list[dict[str, int]]:
        return [{"row": 1}] if check.name == "row_conservation" else []

    monkeypatch.setattr("custody_pipeline.defs.checks.run_check", offending)
    result = run_night(load_settings(), NIGHT)
    assert not result.success
    (found,) = exceptions(home)
    assert (found[2], "row_conservation" in found[3]) == ("step custody_checks failed", True)
    with open_instance(load_settings()) as instance:
        run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/retry_on_asset_or_op_failure"] == "false"  # the rows stay as they are


@pytest.mark.parametrize(("asked", "ends"), [(True, "CANCELED"), (False, "FAILURE")])
def test_a_run_that_is_terminated_ends(home: Path, monkeypatch: pytest.MonkeyPatch, asked: bool, ends: str) -> None:
    """With a retry policy, Dagster would try the step again and seal the night. An evicted pod is tried again later."""

    def interrupted(*_: object) -> None:
        with open_instance(load_settings()) as instance:
            (run,) = instance.get_runs()
            if asked:
                instance.report_run_canceling(run)
        raise DagsterExecutionInterruptedError

    monkeypatch.setattr("custody_pipeline.defs.collected.require_place", lambda _: None)
    monkeypatch.setattr("custody_pipeline.defs.collected.collected", interrupted)
    assert not run_night(load_settings(), NIGHT).success
    with open_instance(load_settings()) as instance:
        (run,) = instance.get_runs()
        events = [entry.dagster_event_type for entry in instance.all_logs(run.run_id)]
    assert (run.status.value, dg.DagsterEventType.STEP_UP_FOR_RETRY in events) == (ends, False)


def test_a_termination_in_the_middle_of_a_query_is_no_fault() -> None:
    """DuckDB raises `RuntimeError: Query interrupted` from what the signal's handler raised."""
    before = signal.signal(signal.SIGALRM, Mock(side_effect=DagsterExecutionInterruptedError))
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        with duckdb.connect() as con, pytest.raises(DagsterExecutionInterruptedError), failing_step(again_in=1):
            con.execute("SELECT count(*) FROM range(20_000_000_000) AS t(i) WHERE i % 7 = 3")
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_step_is_tried_again_once_after_a_passing_error() -> None:
    @dg.asset
    def refused() -> None:
        with failing_step(again_in=again_in(dg.AssetExecutionContext.get(), 0)):
            raise ConnectionError

    result = dg.materialize([refused], raise_on_error=False)
    (failed,) = result.get_step_failure_events()
    assert failed.step_failure_data.user_failure_data is not None
    assert str(failed.step_failure_data.user_failure_data.description).startswith("ConnectionError")
    assert [event.event_type_value for event in result.all_events].count("STEP_UP_FOR_RETRY") == 1


def test_a_recheck_runs_in_a_process_that_is_nicer_already(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root may make a process less nice."""
    niceness: list[int] = []
    monkeypatch.setattr("os.getpriority", lambda *_: 15)
    monkeypatch.setattr("os.setpriority", lambda *given: niceness.append(given[-1]))
    run_night(load_settings(), NIGHT, job="recheck_custody")
    assert niceness == [15]


def test_a_failure_that_cannot_be_noted_stops_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custody_pipeline.defs.failures.send_alerts", Mock(side_effect=duckdb.CatalogException("x")))
    run, log = dg.DagsterRun("nightly_custody", tags={"dagster/partition": str(NIGHT)}), Mock()
    note_failure(load_settings(), run, "run was killed", "The process ended.", log)
    log.warning.assert_called_once()


def test_a_run_that_was_killed_is_an_exception_that_the_next_one_notes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = {"dagster/partition": str(NIGHT)}
    holder = textwrap.dedent(
        """
        import sys
        import dagster as dg
        from custody_pipeline.defs.launcher import lock_of_run
        with dg.DagsterInstance.from_config(sys.argv[1]) as instance, lock_of_run(instance, sys.argv[2]):
            print(flush=True)
            sys.stdin.read()
        """
    )
    with open_instance(load_settings()) as instance:
        job = defs.resolve_job_def("nightly_custody")
        run = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
        storage = instance.event_log_storage
        storage.set_concurrency_slots("warehouse", 1)
        storage.claim_concurrency_slot("warehouse", run.run_id, "a step")
        with subprocess.Popen(
            [sys.executable, "-c", holder, instance.root_directory, run.run_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert release_dead_runs(instance, load_settings()) == []
            process.kill()
        with monkeypatch.context() as patched:
            patched.setattr("custody_pipeline.defs.failures.note_failure", Mock(side_effect=MemoryError))
            with pytest.raises(MemoryError):
                release_dead_runs(instance, load_settings())
        others = []

        def note(*given: Any, **options: Any) -> None:
            others.append(release_dead_runs(instance, load_settings()))  # as another process does now
            note_failure(*given, **options)

        with monkeypatch.context() as patched:
            patched.setattr("custody_pipeline.defs.failures.note_failure", note)
            patched.setattr(instance, "report_run_failed", Mock(side_effect=MemoryError))
            with pytest.raises(MemoryError):
                release_dead_runs(instance, load_settings())
        assert others == [[]]
        assert storage.get_concurrency_run_ids() == {run.run_id}
        assert release_dead_runs(instance, load_settings()) == [run.run_id]
        assert storage.get_concurrency_run_ids() == set(), "nothing waits for it"
        assert release_dead_runs(instance, load_settings()) == []
    (found,) = exceptions(home)
    assert found[2:] == ("run was killed", "The process of this run ended before the run did.", f"run {run.run_id}")
