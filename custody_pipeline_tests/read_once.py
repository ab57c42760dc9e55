"""Files that the product's libraries read again and again, read once in a process and in those that it forks."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import boto3
from alembic.script import ScriptDirectory
from botocore.hooks import EventAliaser, HierarchicalEmitter
from botocore.loaders import JSONFileLoader

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.pages import environment
from custody_pipeline.warehouse.sql_files import load_models

_read = cache(partial(JSONFileLoader.load_file, JSONFileLoader()))
_alias = cache(EventAliaser(HierarchicalEmitter())._alias_event_name)  # type: ignore[attr-defined]
# Dagster reads ninety revisions for each database that it opens; every run has a new one.
revisions = cache(ScriptDirectory.from_config)


def load_file(_: JSONFileLoader, path: str) -> Any:
    """In place of boto3's loader, whose sessions each parse descriptions of AWS's services for a tenth of a second."""
    return _read(path)


def alias_event_name(_: EventAliaser, name: str) -> Any:
    """In place of botocore's aliaser, of which each session works out the same few hundred names again."""
    return _alias(name)


def read_all() -> None:
    """Read the models, the template of the night's page, and the descriptions of the services that a night calls."""
    JSONFileLoader.load_file = load_file  # type: ignore[method-assign, assignment]
    EventAliaser._alias_event_name = alias_event_name  # type: ignore[attr-defined]
    ScriptDirectory.from_config = revisions  # type: ignore[method-assign]
    boto3.Session("nobody", "nothing", region_name="us-east-1").client("s3").close()
    environment(PACKAGE_DIR / "operations" / "templates").get_template("night_report.html")
    load_models()
