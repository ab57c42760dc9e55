"""The files around the code do what they say: containers, pre-commit hooks, Dagster's own tools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

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


def test_the_files_of_several_workers_follow_their_specifications() -> None:
    deploy = ROOT / "deploy"
    run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(deploy / "compose-fleet.yaml"))
    services = yaml.safe_load((deploy / "compose-fleet.yaml").read_text())["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []
    # What a run's container is given is what the code location has.
    instance = yaml.safe_load((deploy / "dagster-fleet.yaml").read_text())
    given = set(instance["run_launcher"]["config"]["env_vars"])
    assert set(services["code"]["environment"]) - given == {"DAGSTER_CURRENT_IMAGE"}
    limits = yaml.safe_load((deploy / "helm-values.yaml").read_text())["dagsterDaemon"]["runCoordinator"]["config"]
    ours = yaml.safe_load((ROOT / "dagster.yaml").read_text())["concurrency"]["runs"]["tag_concurrency_limits"]
    assert limits["queuedRunCoordinator"]["tagConcurrencyLimits"] == ours
    assert instance["concurrency"]["runs"]["tag_concurrency_limits"] == ours


def test_each_hook_is_local_and_runs_an_installed_tool() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    programs = {Path(hook["entry"].split()[0]) for hook in repository["hooks"]}
    assert [path for path in programs if path.parent != Path(".venv/bin")] == []
    assert [path.name for path in programs if path.name != "hadolint" and not (BIN / path.name).exists()] == []


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
    assert [line[:40] for line in lines] == ["CUSTODY_FIRST_NIGHT is 'yesterday': Inpu"]
