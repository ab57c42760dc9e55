"""Opening Dagster's instance of a home."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage

from custody_pipeline.defs.instance import dagster_home, open_instance, run_night, tidy_runs
from custody_pipeline.defs.open_databases import OpenEventLog
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.distribution import DAGSTER_YAML
from custody_pipeline.settings import Settings, SettingsError
from custody_pipeline_tests.forked import forking

PROCESSES = 4


def open_together(home: Path, together: Any) -> None:
    try:
        together.wait(60)
    except BrokenBarrierError:
        raise SystemExit("the others did not come") from None
    with open_instance(Settings(home=home)) as instance:
        assert instance.get_runs() == []


def test_a_new_home_may_be_opened_by_several_processes_at_once(tmp_path: Path) -> None:
    context = forking()
    for number in range(3):
        together = context.Barrier(PROCESSES)
        processes = [
            context.Process(target=open_together, args=(tmp_path / str(number), together)) for _ in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * PROCESSES


def test_the_dagster_home_of_an_operator_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "theirs"
    monkeypatch.setenv("DAGSTER_HOME", str(theirs))
    assert not (dagster_home(tmp_path / "home") / "dagster.yaml").exists()
    (theirs / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with open_instance(Settings(home=tmp_path / "home")) as instance:
        assert instance.root_directory == str(theirs)
    assert (theirs / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"
    assert not (tmp_path / "home" / "dagster").exists()


def test_a_dagster_yaml_that_is_there_is_not_overwritten_even_when_it_cannot_be(tmp_path: Path) -> None:
    place = dagster_home(tmp_path)
    assert (place / "dagster.yaml").read_bytes() == DAGSTER_YAML.read_bytes()
    (place / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (place / "dagster.yaml").chmod(0o400)
    assert dagster_home(tmp_path) == place
    assert (place / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_a_dagster_home_below_the_home_gets_the_file_of_the_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    assert (dagster_home(tmp_path) / "dagster.yaml").read_bytes() == DAGSTER_YAML.read_bytes()


def test_dagster_reads_what_a_run_tells_while_its_databases_are_open(tmp_path: Path) -> None:
    with open_instance(Settings(home=tmp_path)) as instance:
        run = instance.add_run(dg.DagsterRun(job_name="nightly_custody", run_id="one"))
        assert isinstance(instance.event_log_storage, OpenEventLog)
        instance.report_engine_event("first", run)
        file = Path(instance.event_log_storage.path_for_shard("one"))
        os.utime(file, (0, 0))
        instance.report_engine_event("second", run)
        assert file.stat().st_mtime > 0, "Dagster's page would not notice"
        with dg.DagsterInstance.from_config(str(dagster_home(tmp_path))) as page:
            assert not isinstance(page.event_log_storage, OpenEventLog)
            assert [entry.message for entry in page.all_logs("one")] == ["first", "second"]
            assert [found.run_id for found in page.get_runs()] == ["one"]
        other = instance.add_run(dg.DagsterRun(job_name="nightly_custody", run_id="two"))
        instance.report_engine_event("third", other)
        instance.report_engine_event("fourth", run)
        assert [entry.message for entry in instance.all_logs("one")] == ["first", "second", "fourth"]
    assert not [path.name for path in tmp_path.rglob("*.db-wal")], "a database was left open"


def test_an_old_run_keeps_the_numbers_of_its_assets_and_nothing_else(tmp_path: Path) -> None:
    settings, key, beside = Settings(home=tmp_path), dg.AssetKey(["custody", "nights"]), list[str]()

    @dg.asset(key=key, partitions_def=dg.StaticPartitionsDefinition(["2026-11-02"]))
    def nights() -> dg.MaterializeResult[None]:
        beside.extend(child.name() for child in psutil.Process().children(recursive=True))
        return dg.MaterializeResult(metadata={"recordings": 7, "complete %": 12.5, "preview": "| a | long | table |"})

    with open_instance(settings) as instance:
        run_id = dg.materialize([nights], instance=instance, partition_key="2026-11-02").run_id
    assert "tail" not in beside, "a process that copies what a step prints may outlive the run"
    assert tidy_runs(settings) == (0, 0), "the run is young"
    settings = Settings(home=tmp_path, runs_days=0)
    assert tidy_runs(settings, dry_run=True) == (1, 0)
    runs, freed = tidy_runs(settings)
    assert (runs, freed > 100_000) == (1, True)
    assert tidy_runs(settings) == (0, 0)
    with dg.DagsterInstance.from_config(str(dagster_home(tmp_path))) as page:
        assert [run.run_id for run in page.get_runs()] == [run_id]
        assert page.all_logs(run_id) == []
        found = page.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=["2026-11-02"]), limit=5)
        assert [
            (one.run_id, one.asset_materialization and one.asset_materialization.metadata) for one in found.records
        ] == [(run_id, {"recordings": dg.IntMetadataValue(7), "complete %": dg.FloatMetadataValue(12.5)})]
        assert page.get_materialized_partitions(key) == {"2026-11-02"}


def test_no_night_runs_here_where_the_daemon_looks_for_its_container(tmp_path: Path) -> None:
    """Dagster finds no container of such a run, marks it as failed and starts another one."""
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text(
        "run_monitoring: {enabled: true}\nrun_launcher: {module: dagster_docker, class: DockerRunLauncher}\n"
    )
    with pytest.raises(SettingsError, match="Start the night on the page of the job nightly_custody"):
        run_night(Settings(home=tmp_path), date(2026, 11, 2))
    with open_instance(Settings(home=tmp_path)) as instance:
        assert instance.get_runs() == []


def test_the_daemon_learns_that_the_process_of_a_run_is_gone(tmp_path: Path) -> None:
    """Dagster's own launcher cannot tell: after a reboot, the run would keep its place, its night and its pools."""

    def health(run_id: str) -> WorkerStatus:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return instance.run_launcher.check_run_worker_health(run).status

    @dg.asset
    def asked(deployment: Deployment) -> dg.MaterializeResult[None]:
        (under_way,) = instance.get_runs()
        return dg.MaterializeResult(metadata={"health": health(under_way.run_id).value})

    with open_instance(Settings(home=tmp_path)) as instance:
        assert instance.run_launcher.supports_check_run_worker_health
        result = dg.materialize([asked], instance=instance, resources={"deployment": Deployment()})
        (made,) = result.asset_materializations_for_node("asked")
        assert made.metadata["health"] == dg.TextMetadataValue("RUNNING")
        locks = Path(instance.root_directory) / "running"
        assert list(locks.iterdir()) == [], "a run that ended leaves no lock"
        killed = instance.add_run(dg.DagsterRun("nightly_custody", status=dg.DagsterRunStatus.STARTED))
        assert health(killed.run_id) == WorkerStatus.RUNNING, "it may run on another machine"
        assert not instance.run_launcher.terminate(killed.run_id)
        assert health(killed.run_id) == WorkerStatus.RUNNING
        assert [run.status for run in instance.get_runs(dg.RunsFilter([killed.run_id]))] == [killed.status]
        (locks / killed.run_id).touch()
        assert health(killed.run_id) == WorkerStatus.FAILED
        (found,) = instance.get_runs(dg.RunsFilter([killed.run_id]))
        assert (found.status, list(locks.iterdir())) == (dg.DagsterRunStatus.FAILURE, [])


def test_an_operators_storage_stays_theirs(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text(
        "event_log_storage:\n  module: dagster._core.storage.event_log\n  class: ConsolidatedSqliteEventLogStorage\n"
        f"  config: {{base_dir: '{tmp_path / 'theirs'}'}}\n"
    )
    with open_instance(Settings(home=tmp_path)) as instance:
        assert isinstance(instance.event_log_storage, ConsolidatedSqliteEventLogStorage)
