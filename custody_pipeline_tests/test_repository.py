"""The repository holds nothing of the machine it was written on, no secret, and documents that tell the truth."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic_settings import BaseSettings

import custody_pipeline
from custody_pipeline.cli.main import app

ROOT = Path(__file__).parent.parent
MAX_BYTES = 1_000_000

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout: git knows which files are ours")

# Written so that no pattern matches its own text here.
MACHINE_PATHS = re.compile(r"(?<![\w.$}/-])(?:/hom[e]/[a-z]|/User[s]/[A-Za-z]|/roo[t]/|/wor[k]/|[A-Z]:\\User[s]\\)")
REGISTRIES = re.compile(r"--(?:extra-)?index[-]url|\bfind[-]links\b|(?i:artifactor[y]|jfro[g]|devp[i]|pypi[-]mirror)")
SECRETS = {
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE[ ]KEY-----\s+[A-Za-z0-9+/]{20}"),
    "a Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "a Slack webhook": re.compile(r"hooks[.]slack[.]com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/\w{10,}"),
    "a GitHub token": re.compile(r"\bgh[opsu]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}"),
    "a JSON Web Token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "a password in an address": re.compile(r"\bhttps?://[^/\s:@'\"{}<>]+:[^/\s:@'\"{}<>$]{8,}@"),
}
# AWS's own documentation uses this one, and services reject it.
PUBLISHED_EXAMPLES = {"AKIAIOSFODNN7EXAMPLE"}
CONFLICT = re.compile(r"^(?:<{7} |>{7} |={7}$)", re.MULTILINE)

CONSTRAINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[a-z0-9,_-]+\])?==[0-9][A-Za-z0-9.+!-]*(?:\s*;\s*[^:/]+)?")


@functools.cache
def tracked() -> tuple[Path, ...]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in listing.decode().split("\0") if name]
    assert paths
    return tuple(path for path in paths if path.is_file())


@functools.cache
def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def found(pattern: re.Pattern[str], *, allowed: frozenset[str] = frozenset()) -> list[str]:
    """`file:line` of each match in a tracked file."""
    places = []
    for path in tracked():
        text = text_of(path)
        for match in pattern.finditer(text):
            if match.group() not in allowed:
                places.append(f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}")
    return places


def documents() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


# -- nothing of the machine, no secrets ------------------------------------------------------------------------------


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    assert found(MACHINE_PATHS) == []


def test_no_file_names_where_packages_were_fetched_from() -> None:
    assert found(REGISTRIES) == []


def test_constraints_are_names_and_versions_alone() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if line and not CONSTRAINT.fullmatch(line)] == []


@pytest.mark.parametrize("kind", SECRETS)
def test_no_file_holds_a_secret(kind: str) -> None:
    assert found(SECRETS[kind], allowed=frozenset(PUBLISHED_EXAMPLES)) == []


def test_the_patterns_find_what_they_are_for() -> None:
    assert MACHINE_PATHS.search("see /ho" + "me/alice/project")
    assert REGISTRIES.search("--index" + "-url https://packages.example.com")
    examples = {
        "an AWS access key": "AKIA" + "A" * 16,
        "a private key": "-----BEGIN PRIVATE" + " KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAA",
        "a Slack token": "xoxb" + "-0123456789-abcdef",
        "a Slack webhook": "https://hooks.slack" + ".com/services/T0000000/B0000000/abcdefghijkl",
        "a GitHub token": "ghp" + "_" + "a" * 36,
        "a JSON Web Token": ".".join(["eyJ" + "a" * 12, "eyJ" + "b" * 12, "c" * 12]),
        "a password in an address": "https://alice:correct" + "horse@example.com",
    }
    assert {kind for kind, text in examples.items() if SECRETS[kind].search(text)} == set(SECRETS)


def test_no_file_is_large() -> None:
    assert [str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > MAX_BYTES] == []


def test_no_two_modules_have_one_name() -> None:
    names = [
        file.name for file in Path(custody_pipeline.__file__).parent.rglob("*.py") if not file.name.startswith("__")
    ]
    assert len(names) > 200
    assert {name for name in names if names.count(name) > 1} == set()


def test_no_merge_was_left_half_done() -> None:
    assert found(CONFLICT) == []


def test_nothing_that_a_run_leaves_behind_is_tracked() -> None:
    left = re.compile(
        r"(^|/)(\.venv|\.custody|__pycache__|\.dlt|\.hypothesis|build|dist)/|\.(pyc|duckdb|wal|log)$|\.env$"
    )
    assert [name for path in tracked() if left.search(name := path.relative_to(ROOT).as_posix())] == []


# -- documents tell the truth ----------------------------------------------------------------------------------------


def test_there_is_a_readme() -> None:
    assert (ROOT / "README.md").is_file()


def commands_of(path: Path) -> list[list[str]]:
    """Each command in a document's shell blocks, as words; pipes and `&&` separate commands."""
    commands = []
    for block in re.findall(r"^```(?:sh|bash|shell|console)\n(.*?)^```", text_of(path), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            except ValueError:
                continue
            command: list[str] = []
            for word in [*words, ";"]:
                if word in {";", "|", "&&", "||", ">", "&"}:
                    commands.append(command)
                    command = []
                elif command or not re.fullmatch(r"[A-Z_]+=.*", word):
                    command.append(word)
    return [command for command in commands if command]


def test_every_custody_command_in_the_documents_exists() -> None:
    root = typer.main.get_command(app)
    wrong = []
    for path in documents():
        for program, *words in commands_of(path):
            if Path(program).name == "custody" and (problem := _problem(root, words)):
                wrong.append(f"{path.relative_to(ROOT)}: custody {shlex.join(words)}: {problem}")
    assert wrong == []


def _problem(command: Any, words: list[str]) -> str:
    options = {"--help"}
    while True:
        options |= {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        children = getattr(command, "commands", {})
        if not words or words[0] not in children:
            break
        command, words = children[words[0]], words[1:]
    if children and not (words and words[0] == "--help"):
        return f"no such command; there are {', '.join(children)}"
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
    return f"no such option: {', '.join(unknown)}" if unknown else ""


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets
    wrong = []
    for path in documents():
        for program, *words in commands_of(path):
            if program == "make":
                wrong += [f"{path.relative_to(ROOT)}: make {word}" for word in words if _is_target(word) - targets]
    assert wrong == []


def _is_target(word: str) -> set[str]:
    return {word} if re.fullmatch(r"[a-z][\w-]*", word) else set()


def test_every_command_is_named_in_the_readme() -> None:
    readme = text_of(ROOT / "README.md")
    commands: Any = typer.main.get_command(app)
    visible = [name for name, command in commands.commands.items() if not command.hidden]
    assert [name for name in visible if not re.search(rf"\bcustody {re.escape(name)}\b", readme)] == []


def test_every_setting_in_the_documents_exists() -> None:
    known = _settings_variables()
    code = "".join(text_of(path) for path in tracked() if path.suffix in {".py", ".yaml"} or path.name == "Makefile")
    wrong = []
    for path in documents():
        for name in sorted(set(re.findall(r"\bCUSTODY_[A-Z0-9_]*[A-Z0-9]\b", text_of(path)))):
            if name not in known and not re.search(rf"\b{name}\b", code):
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert wrong == []


def _settings_variables() -> set[str]:
    names = set()
    for module in pkgutil.walk_packages(custody_pipeline.__path__, "custody_pipeline."):
        if not module.name.startswith("custody_pipeline.settings."):
            continue
        for thing in vars(importlib.import_module(module.name)).values():
            if isinstance(thing, type) and issubclass(thing, BaseSettings):
                prefix = thing.model_config.get("env_prefix", "")
                names |= {f"{prefix}{field}".upper() for field in thing.model_fields}
    assert "CUSTODY_EXPORT_URL" in names
    return names


def test_every_link_between_documents_leads_somewhere() -> None:
    wrong = []
    for path in documents():
        for target in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
            place = target.partition("#")[0]
            if place and "://" not in place and not place.startswith("mailto:") and not (path.parent / place).exists():
                wrong.append(f"{path.relative_to(ROOT)}: {target}")
    assert wrong == []


def test_every_permission_of_the_vendor_that_the_code_names_is_in_the_page() -> None:
    page = text_of(ROOT / "docs/policies/README.md")
    code = "".join(text_of(path) for path in tracked() if path.is_relative_to(ROOT / "custody_pipeline"))
    named = set(re.findall(r"\b[a-z]+:[a-z][A-Za-z]*:view\b", code))
    assert "recording:recording:view" in named
    assert {name for name in named if f"`{name}`" not in page} == set()
