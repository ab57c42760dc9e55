"""Dagster's view: the contract's names, and schedules that ask for the right nights."""

import importlib
import os
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import dagster as dg
import pytest
from botocore.exceptions import ClientError

from custody_pipeline import definitions
from custody_pipeline.definitions import defs
from custody_pipeline.defs import assembled, nightly
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.defs.retention import erasures, every_retention
from custody_pipeline.defs.rolling_fixity import every_fixity, fixity_checks
from custody_pipeline.defs.sensors import live_captures
from custody_pipeline.load.raw_tables import BOOKKEEPING, RAW_TABLES
from custody_pipeline.operations.fixity import FixityReport
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.content_hash import LIVE_TABLES, PUBLISHED_TABLES
from custody_pipeline.warehouse.erasures import Request, keep_request
from custody_pipeline.warehouse.sql_files import load_models


def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_every_table_is_an_asset_under_its_contract_key() -> None:
    wanted = {f"raw/{table}" for tables in (*RAW_TABLES.values(), BOOKKEEPING) for table in tables}
    wanted |= {key.replace(".", "/") for key, m in load_models().items() if m.schema in {"staging", "custody"}}
    wanted |= {f"published/{table}" for table in (*PUBLISHED_TABLES, *LIVE_TABLES, "cut")}
    assert wanted <= set(specs())


def test_what_dagster_writes_is_its_owners_alone() -> None:
    before = os.umask(0)
    try:
        importlib.reload(definitions)
        assert os.umask(0) == 0o077
    finally:
        os.umask(before)


def test_groups_are_those_of_the_journey() -> None:
    groups = {spec.group_name for spec in specs().values()}
    model = {"sources", "recordings", "tags", "gaps", "marts"}
    assert groups == {"genesys", "collect", *model, "publish", "evidence", "capture", "analysts"}


def test_lineage_begins_and_ends_outside() -> None:
    found = specs()
    begins = {key for key, spec in found.items() if not list(spec.deps)}
    needed = {dep.asset_key.to_user_string() for spec in found.values() for dep in spec.deps}
    assert begins <= {
        "genesys/export_bucket", "genesys/platform_api", "genesys/events", "raw/fixity_checks", "raw/erasures",
    }  # fmt: skip
    assert {"custody/nights", "published/cut", "published/gaps"} <= needed
    ends = {key for key in found.keys() - needed if key.startswith("analysts/")}
    assert ends == {"analysts/snapshot", "analysts/catalogues", "analysts/report"}


def test_every_schedule_sensor_and_job_says_what_it_is_for() -> None:
    jobs = [*(defs.jobs or [])]
    for found in (*jobs, *(defs.schedules or []), *(defs.sensors or [])):
        assert found.description, found.name


def test_every_job_runs_its_steps_in_one_process() -> None:
    assert {job.executor_def for job in defs.resolve_all_job_defs()} == {dg.in_process_executor}


def test_every_table_says_what_it_is_and_what_its_columns_mean() -> None:
    for key, spec in specs().items():
        assert spec.description, key
        if key.startswith(("raw/", "staging/", "custody/")) and key != "raw/live_captures":
            schema = spec.metadata["dagster/column_schema"]
            assert all(column.description for column in schema.columns), key


def test_a_failed_check_keeps_the_night_from_being_published() -> None:
    checks = [spec for check in defs.asset_checks or [] for spec in check.check_specs]
    assert {check.name for check in checks} >= {
        "row_conservation", "header_complete", "no_unexplained_recording", "digests_present", "schema_unchanged",
    }  # fmt: skip
    assert all(check.partitions_def for check in checks)
    # A night with something unexplained is published as incomplete.
    assert {check.name for check in checks if not check.blocking} == {
        "no_unexplained_recording", "clock_steady", "gaps_told", "one_night_each", "same_organization",
        "copies_as_sealed", "files_as_sealed",
    }  # fmt: skip


def test_a_check_hangs_on_the_table_that_it_judges() -> None:
    checks = [spec for check in defs.asset_checks or [] for spec in check.check_specs]
    judged = {check.name: check.asset_key.to_user_string() for check in checks}
    assert judged["clock_steady"] == "raw/extraction_receipts"
    assert judged["same_organization"] == "raw/export_objects"
    assert judged["gaps_told"] == "custody/gaps"
    assert judged["no_unexplained_recording"] == "custody/reconciliation"
    assert judged["row_conservation"] == "custody/chain_of_custody"


def test_every_asset_has_the_owners_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(spec.owners for spec in specs().values())
    monkeypatch.setenv("CUSTODY_OWNERS", "team:legal, ann.o-dowd+x@discovery.example.com")
    owned = importlib.reload(assembled).defs
    monkeypatch.delenv("CUSTODY_OWNERS")
    importlib.reload(assembled)
    found = {tuple(spec.owners) for spec in owned.resolve_all_asset_specs()}
    assert found == {("team:legal", "ann.o-dowd+x@discovery.example.com")}
    assert len(list(owned.resolve_all_asset_specs())) == len(specs())


def test_assets_are_found_by_where_they_are_in_the_journey_and_by_personal_data() -> None:
    found = {key: spec.tags for key, spec in specs().items()}
    assert found["custody/agents"] == {"custody/layer": "custody", "custody/pii": "columns"} | {
        f"dagster/kind/{kind}": "" for kind in ("duckdb", "sql")
    }
    assert found["published/cut"]["custody/layer"] == "published"
    assert "custody/pii" not in found["custody/reconciliation"]


def test_the_nightly_job_has_daily_utc_partitions_and_runs_at_half_past_two() -> None:
    job = defs.resolve_job_def("nightly_custody")
    assert isinstance(job.partitions_def, dg.DailyPartitionsDefinition)
    assert job.partitions_def.timezone == "UTC"
    schedule = defs.resolve_schedule_def("nightly_custody_schedule")
    assert schedule.cron_schedule == "30 2 * * *"
    assert defs.resolve_job_def("recheck_custody").partitions_def == job.partitions_def
    # The night of yesterday waits for no recheck, in the queue and in the pools.
    assert int(defs.resolve_job_def("recheck_custody").tags["dagster/priority"]) < int(
        job.tags.get("dagster/priority", 0)
    )


def test_the_nightly_job_leaves_live_capture_to_its_sensor() -> None:
    selected = defs.resolve_job_def("nightly_custody").asset_layer.selected_asset_keys
    assert dg.AssetKey(["raw", "live_captures"]) not in selected
    assert dg.AssetKey(["published", "cut"]) in selected


def tick(schedule: dg.ScheduleDefinition) -> object:
    with dg.build_schedule_context(resources={"deployment": Deployment()}) as context:
        return schedule(context)


def test_the_fixity_job_has_a_schedule_of_its_own_and_no_part_in_the_night(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = dg.AssetKey(["raw", "fixity_checks"])
    assert specs()["raw/fixity_checks"].group_name == "evidence"
    assert key not in defs.resolve_job_def("nightly_custody").asset_layer.selected_asset_keys
    assert defs.resolve_job_def("rolling_fixity").asset_layer.selected_asset_keys == {key}
    monkeypatch.setenv("CUSTODY_EXPORT_URL", "s3://exports")
    assert isinstance(tick(every_fixity), dg.RunRequest)
    monkeypatch.setenv("CUSTODY_FIXITY_BYTES", "0")
    assert isinstance(tick(every_fixity), dg.SkipReason)


def test_erasing_is_no_part_of_the_night_and_needs_a_policy_or_a_request_that_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
    key = dg.AssetKey(["raw", "erasures"])
    for job in ("nightly_custody", "recheck_custody"):
        assert key not in defs.resolve_job_def(job).asset_layer.selected_asset_keys
    assert defs.resolve_job_def("retention").asset_layer.selected_asset_keys == {key}
    assert every_retention.default_status is dg.DefaultScheduleStatus.STOPPED
    assert isinstance(tick(every_retention), dg.SkipReason)
    (ran,) = dg.materialize([erasures], resources={"deployment": Deployment()}).get_asset_materialization_events()
    assert ran.materialization.metadata["conversations erased"].value == 0
    keep_request(
        Deployment().settings, Request("1" * 32, "2026-11-20T09:00:00Z", "me", "", "", (), (), (), (), state="waiting")
    )
    assert isinstance(tick(every_retention), dg.RunRequest)
    monkeypatch.setenv("CUSTODY_RETENTION_PATH", "retention.yaml")
    assert isinstance(tick(every_retention), dg.RunRequest)


@pytest.mark.parametrize(("counts", "passed", "severity"), [
    ({"unchanged": 2}, True, dg.AssetCheckSeverity.WARN),
    ({"unchanged": 1, "changed": 1}, False, dg.AssetCheckSeverity.ERROR),
    ({"unreadable": 1}, False, dg.AssetCheckSeverity.WARN),
])  # fmt: skip
def test_the_fixity_asset_shows_what_it_found(
    monkeypatch: pytest.MonkeyPatch, counts: dict[str, int], passed: bool, severity: dg.AssetCheckSeverity
) -> None:
    findings: list[dict[str, str | None]] = [
        {"uri": "s3://exports/a", "result": result} for result in counts if result != "unchanged"
    ]
    report = FixityReport(Counter(counts), 10, findings)
    monkeypatch.setattr("custody_pipeline.defs.rolling_fixity.run_fixity", lambda _: report)
    ran = dg.materialize([fixity_checks], resources={"deployment": Deployment()})

    (check,) = ran.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (passed, severity)
    (shown,) = ran.asset_materializations_for_node("raw__fixity_checks")
    assert shown.metadata["objects"].value == sum(counts.values())


def test_a_step_of_its_own_job_fails_with_the_message_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ClientError({"Error": {"Code": "NoSuchBucket"}}, "GetObject")
    for step, work in (
        (fixity_checks, "rolling_fixity.run_fixity"),
        (erasures, "retention.apply"),
        (live_captures, "sensors.drain_queue"),
    ):
        monkeypatch.setattr(f"custody_pipeline.defs.{work}", Mock(side_effect=missing))
        with pytest.raises(dg.Failure, match=r"answered NoSuchBucket to GetObject; custody doctor"):
            dg.materialize([step], resources={"deployment": Deployment()})


def test_a_check_whose_tables_are_not_made_passes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
    job = assembled.defs.resolve_job_def("nightly_custody")
    ran = job.execute_in_process(partition_key="2026-11-02", op_selection=["custody_checks"], raise_on_error=False)
    assert not ran.success
    assert not [found for found in ran.get_asset_check_evaluations() if found.passed]
    publishing = job.execute_in_process(partition_key="2026-11-02", op_selection=["publish"], raise_on_error=False)
    for step in (ran, publishing):
        (failed,) = [event.step_failure_data for event in step.all_events if event.is_step_failure]
        assert failed.user_failure_data is not None
        assert "run the night again with all its steps" in str(failed.user_failure_data.description)


def test_another_worker_tries_a_night_again_with_all_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = "dagster/retry_strategy"
    # One home has what the steps before the failed one made.
    assert strategy not in (nightly.nightly_custody.tags or {})
    shared = Settings.model_construct(nights_url="s3://nights")
    with monkeypatch.context() as patched:
        patched.setattr("custody_pipeline.defs.partitions.settings_at_import", lambda: shared)
        jobs = importlib.reload(nightly)
        found = [(job.tags or {}).get(strategy) for job in (jobs.nightly_custody, jobs.recheck_custody)]
    importlib.reload(nightly)
    assert found == ["ALL_STEPS", "ALL_STEPS"]
