"""The files around the code do what they say: containers, pre-commit hooks, Dagster's own tools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster_k8s.launcher
import pytest
import yaml
from dagster import DagsterRun
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config
from dagster._utils.tags import TagConcurrencyLimitsCounter
from dagster_docker import DockerRunLauncher
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import construct_dagster_k8s_job

from custody_pipeline.defs.resources import RECHECK_TAG

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
# Dagster's launchers have no types.
CONTAINERS: Any = DockerRunLauncher
PODS: Any = K8sRunLauncher

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")


def run(*command: str, status: int = 0, **extra: str) -> str:
    environment = {**os.environ, "DO_NOT_TRACK": "1", "NO_COLOR": "1", **extra}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == status, answer.stdout + answer.stderr
    return answer.stdout + answer.stderr


@pytest.mark.skipif(not (BIN / "hadolint").exists(), reason="hadolint has no wheel for this machine")
def test_the_dockerfile_has_no_finding() -> None:
    assert run(str(BIN / "hadolint"), "Dockerfile") == ""


def test_the_image_does_not_run_as_root_and_tells_its_health() -> None:
    last_stage = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", last_stage, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last_stage, re.MULTILINE)


def test_compose_yaml_follows_the_compose_specification() -> None:
    run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) == {"webserver", "daemon", "postgres", "s3"}
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_the_instance_of_compose_differs_from_ours_in_its_storage_alone() -> None:
    ours = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    theirs = yaml.safe_load((ROOT / "deploy" / "dagster-postgres.yaml").read_text())
    assert set(theirs.pop("storage")) == {"postgres"}
    assert theirs == ours


def assert_one_run_a_night_and_a_place_beside_rechecks(instance: Mapping[str, Any]) -> None:
    runs = instance["concurrency"]["runs"]
    nights, rechecks, one_night = runs["tag_concurrency_limits"]
    assert rechecks == {"key": RECHECK_TAG, "limit": nights["limit"] - 1}
    assert one_night == {"key": "dagster/partition", "limit": 1, "value": {"applyLimitPerUniqueValue": True}}
    # A backfill that has all the places of nights.
    under_way = [DagsterRun("nightly_custody", tags={"dagster/partition": str(n)}) for n in range(nights["limit"])]
    counter = TagConcurrencyLimitsCounter(runs["tag_concurrency_limits"], under_way)
    assert counter.is_blocked(DagsterRun("nightly_custody", tags={"dagster/partition": "another"}))
    assert not counter.is_blocked(DagsterRun("capture_events")), "tags may vanish before the backfill ends"
    assert runs["max_concurrent_runs"] >= nights["limit"] + 2, "live capture, and a fixity check of hours"


@pytest.mark.parametrize("name", ["dagster.yaml", "deploy/dagster-postgres.yaml"])
def test_a_night_has_one_run_and_rechecks_leave_a_place(name: str) -> None:
    assert_one_run_a_night_and_a_place_beside_rechecks(yaml.safe_load((ROOT / name).read_text()))


def test_the_files_of_several_workers_follow_their_specifications() -> None:
    deploy = ROOT / "deploy"
    run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(deploy / "compose-fleet.yaml"))
    services = yaml.safe_load((deploy / "compose-fleet.yaml").read_text())["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []
    # What a run's container is given is what the code location has.
    instance = yaml.safe_load((deploy / "dagster-fleet.yaml").read_text())
    given = set(instance["run_launcher"]["config"]["env_vars"])
    assert set(services["daemon"]["environment"]) == given
    assert set(services["code"]["environment"]) == given | {"DAGSTER_CURRENT_IMAGE"}
    assert_one_run_a_night_and_a_place_beside_rechecks(instance)
    launcher = instance["run_launcher"]["config"]
    assert process_config(CONTAINERS.config_type(), launcher).errors is None


def test_the_values_of_the_chart_make_an_instance_that_dagster_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = yaml.safe_load((ROOT / "deploy" / "helm-values.yaml").read_text())
    instance = instance_of_chart(values)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance))
    found, _ = dagster_instance_config(str(tmp_path))
    assert_one_run_a_night_and_a_place_beside_rechecks(found)
    config = process_config(PODS.config_type(), instance["run_launcher"]["config"])
    assert config.errors is None
    # The Job of a run, as the launcher makes it.
    monkeypatch.setattr(dagster_k8s.launcher, "load_kubernetes_config", lambda **_: None)
    launcher = PODS.from_config_value(None, config.value)
    context = K8sContainerContext.create_for_run(DagsterRun("nightly_custody"), launcher, include_run_tags=False)
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config("custody-pipeline:local", launcher), ["dagster"], "run", context.run_k8s_config
    )
    pod = job.spec.template.spec
    assert (pod.security_context.run_as_user, job.spec.ttl_seconds_after_finished) == (10001, 3600)
    (container,) = pod.containers
    assert [volume.name for volume in pod.volumes if volume.empty_dir] == ["home"]
    assert [mount.mount_path for mount in container.volume_mounts] == ["/data"]


def instance_of_chart(values: dict[str, Any]) -> dict[str, Any]:
    """`dagster.yaml` as the template configmap-instance.yaml of Dagster's chart writes it from our values."""
    postgres = values["postgresql"]
    storage = {
        "postgres_db": {
            "username": postgres["postgresqlUsername"],
            "password": {"env": "DAGSTER_PG_PASSWORD"},
            "hostname": postgres["postgresqlHost"],
            "db_name": postgres["postgresqlDatabase"],
            "port": 5432,
            "params": {},
            "scheme": postgres["postgresqlScheme"],
        }
    }
    kinds = {"run": "RunStorage", "event_log": "EventLogStorage", "schedule": "ScheduleStorage"}
    modules = {"run": "run_storage", "event_log": "event_log", "schedule": "schedule_storage"}
    made: dict[str, Any] = {
        f"{kind}_storage": {
            "module": f"dagster_postgres.{modules[kind]}",
            "class": f"Postgres{name}",
            "config": storage,
        }
        for kind, name in kinds.items()
    }
    launcher = dict(values["runLauncher"]["config"]["k8sRunLauncher"])
    names = {
        "loadInclusterConfig": "load_incluster_config",
        "imagePullPolicy": "image_pull_policy",
        "envVars": "env_vars",
        "volumes": "volumes",
        "volumeMounts": "volume_mounts",
        "resources": "resources",
    }
    parts = {"podSpecConfig": "pod_spec_config", "jobSpecConfig": "job_spec_config"}
    made["run_launcher"] = {
        "module": "dagster_k8s",
        "class": "K8sRunLauncher",
        "config": {
            "job_namespace": "acme",
            "service_account_name": values["global"]["serviceAccountName"],
            "dagster_home": "/opt/dagster/dagster_home",
            "instance_config_map": "custody-dagster-instance",
            "postgres_password_secret": values["global"]["postgresqlSecretName"],
            "env_config_maps": [entry["name"] for entry in launcher.pop("envConfigMaps")],
            "env_secrets": [entry["name"] for entry in launcher.pop("envSecrets")],
            "run_k8s_config": {parts[name]: value for name, value in launcher.pop("runK8sConfig").items()},
            **{names[name]: value for name, value in launcher.items()},
        },
    }
    daemon = dict(values["dagsterDaemon"])
    # Where the chart's own coordinator is on, it always writes a limit, which Dagster refuses beside `pools`.
    assert daemon.pop("runCoordinator") == {"enabled": False}
    monitoring, retries = daemon.pop("runMonitoring"), daemon.pop("runRetries")
    made["run_monitoring"] = {
        "enabled": monitoring["enabled"],
        "start_timeout_seconds": 300,
        "poll_interval_seconds": 120,
        "free_slots_after_run_end_seconds": monitoring["freeSlotsAfterRunEndSeconds"],
    }
    made["run_retries"] = {"enabled": retries["enabled"], "max_retries": retries["maxRetries"]}
    assert daemon == {}
    logs = values["pythonLogs"]
    made["python_logs"] = {
        "python_log_level": logs["pythonLogLevel"],
        "managed_python_loggers": logs["managedPythonLoggers"],
    }
    return {**made, "telemetry": values["telemetry"], **values["additionalInstanceConfig"]}


def test_each_hook_is_local_and_runs_an_installed_tool() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    programs = {Path(hook["entry"].split()[0]) for hook in repository["hooks"]}
    assert [path for path in programs if path.parent != Path(".venv/bin")] == []
    assert [path.name for path in programs if path.name != "hadolint" and not (BIN / path.name).exists()] == []


def test_dagster_dev_has_the_code_location_of_custody_ui_and_so_its_schedules() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dagster"]
    (loaded,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert (named["module_name"], named["code_location_name"]) == tuple(loaded["python_module"].values())


def test_dg_loads_the_definitions_from_the_top_folder(tmp_path: Path) -> None:
    assert "All definitions loaded successfully" in run(str(BIN / "dg"), "check", "defs", DAGSTER_HOME=str(tmp_path))


@pytest.mark.parametrize(
    "command", ["dg check defs", pytest.param("dg list defs", marks=pytest.mark.slow), "dagster definitions validate"]
)
def test_a_setting_that_is_wrong_or_missing_is_one_line_of_what_loads_the_definitions(
    tmp_path: Path, command: str
) -> None:
    program, *arguments = command.split()
    told = run(str(BIN / program), *arguments, DAGSTER_HOME=str(tmp_path), CUSTODY_FIRST_NIGHT="yesterday")
    lines = [line for line in told.splitlines() if "CUSTODY_" in line and "│" not in line]
    assert [line[:40] for line in lines] == ["CUSTODY_FIRST_NIGHT is 'yesterday': expe"]
