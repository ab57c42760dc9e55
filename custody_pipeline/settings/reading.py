"""Reading the settings from the environment, and listing them.

Belongs here: messages about wrong variables, the list for people. Does not: the settings (table.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, from_json, to_json

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.settings.kinds import SettingsError, without_login
from custody_pipeline.settings.table import SECTIONS, Settings, variable

_VARIABLES = {variable(name) for name in Settings.model_fields}
# Kubernetes sets these variables in every container if there is a Service named custody or custody-….
_OF_KUBERNETES = re.compile(r"CUSTODY_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")

# By the first word of pydantic's types of errors.
_ACCEPTED = {
    "date": "a day, for example 2026-11-02",
    "int": "a whole number",
    "bool": "true or false",
    "tuple": 'a JSON list of texts, for example ["one", "two"]',
    "dict": "a JSON object",
}
# What is around their values does not count.
_TRIMMED = {variable(name) for name in ("owners", "salt_secret", "signing_key", "webhook_secrets")}


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a line per wrong or unknown variable; values of secrets are not repeated.
    """
    wrong = _badly_written(os.environ)
    problems = unknown_variables(os.environ) + [f"{name} {why}" for name, why in wrong.items()]
    try:
        settings = Settings()
        problems += _beside_the_demo(settings)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if not details["loc"] or variable(str(details["loc"][0])) not in wrong:
                problems.append(_problem(details))
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A line for each `CUSTODY_…` variable that is not a setting: otherwise a misspelled setting would be ignored."""
    lines = []
    for name in sorted(environment):
        if name.startswith("CUSTODY_") and name not in _VARIABLES and not _OF_KUBERNETES.fullmatch(name):
            nearest = get_close_matches(name.removeprefix("CUSTODY_").lower(), Settings.model_fields, 1)
            advice = f"the nearest is {variable(nearest[0])}" if nearest else "custody env lists all settings"
            lines.append(f"{name} is no setting; {advice}")
    return lines


def _badly_written(environment: Mapping[str, str]) -> dict[str, str]:
    """By setting, what is wrong with the form of its value: it would pass for a value, with another meaning."""
    found = {}
    for name in sorted(_VARIABLES & environment.keys()):
        value = environment[name]
        if not value.strip():
            found[name] = "is empty; unset it, or give it a value"
        elif name in _TRIMMED:
            continue
        elif value != value.strip():
            found[name] = "begins or ends with a space or a line break; remove it"
        elif value[0] == value[-1] and value[0] in "\"'":
            found[name] = "has quotes around its value, which are taken as a part of it; remove them"
    return found


def _beside_the_demo(settings: Settings) -> list[str]:
    """A line if nights of an organisation would go into a home of `custody demo`, among those of the simulator."""
    try:
        demo = from_json((settings.home / "demo.json").read_bytes()) if settings.publish_url else {}
    except OSError:
        return []
    if demo.get("uris", {}).get("publish") in {None, settings.publish_url}:
        return []
    home = f"{variable('home')}: {settings.home} is a home of custody demo, whose nights are simulated"
    return [f"{home}; name another folder, or unset {variable('publish_url')}"]


def _problem(details: ErrorDetails) -> str:
    message = details["msg"].removeprefix("Value error, ")
    if accepted := _ACCEPTED.get(details["type"].partition("_")[0]):
        message = f"expected {accepted}"
    message = message.replace("Input should be greater", "expected a number greater")
    message = message.replace("Input should be", "expected")
    if not details["loc"]:
        return message
    name = str(details["loc"][0])
    # An address may have a password before its @.
    hidden = _is_secret(Settings.model_fields[name]) or "@" in str(details["input"])
    found = "" if hidden else f" is {details['input']!r}"
    return f"{variable(name)}{found}: {message}"


def all_settings(settings: Settings | None = None) -> Iterator[dict[str, Any]]:
    """Every setting in the order of the table, as JSON types.

    Args:
        settings: adds `value` to each setting that is set; a secret is shown as `***`.
    """
    for section in SECTIONS:
        for name, field in section.model_fields.items():
            row = {
                "section": section.__name__,
                "variable": variable(name),
                "kind": _kind(field),
                "secret": _is_secret(field),
                "default": _text(field.default),
                "example": (field.examples or [""])[0],
                "description": field.description,
            }
            if settings is not None and name in settings.model_fields_set:
                row["value"] = "***" if row["secret"] else without_login(_text(getattr(settings, name)))
            yield row


def settings_document() -> str:
    """The text of docs/settings.md: one table per section."""
    lines = ["# Settings", "", "Generated by `custody env --markdown`. Settings are environment variables."]
    rows = list(all_settings())
    for section in SECTIONS:
        title = re.sub("(?<=[a-z])(?=[A-Z])", " ", section.__name__)
        lines += ["", f"## {title}", "", str(section.__doc__), ""]
        lines += ["| variable | value | default | what it is |", "|---|---|---|---|"]
        for row in rows:
            if row["section"] == section.__name__:
                default = f"`{row['default']}`" if row["default"] else ""
                example = f"; for example `{row['example']}`" if row["example"] else ""
                lines.append(f"| `{row['variable']}` | {row['kind']} | {default} | {row['description']}{example} |")
    return "\n".join(lines) + "\n"


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in _types(field.annotation)


def _kind(field: FieldInfo) -> str:
    types = _types(field.annotation)
    for kind in types:
        if get_origin(kind) is Literal:
            return " or ".join(f"`{choice}`" for choice in get_args(kind))
    for kind, name in ((SecretStr, "secret"), (bool, "true or false"), (int, "number"), (date, "day"), (Path, "path")):
        if kind in types:
            return name
    return "text"


def _types(annotation: Any) -> list[Any]:
    """The types in an annotation: those of a union, without the metadata of `Annotated`."""
    parts = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    if parts and get_origin(annotation) is not Literal:
        return [kind for part in parts for kind in _types(part)]
    return [annotation]


def _text(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, Path) and value.is_relative_to(PACKAGE_DIR):
        return str(value.relative_to(PACKAGE_DIR.parent))
    return to_json(value).decode().strip('"')
