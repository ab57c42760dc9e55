"""Files that the product's libraries read again and again, read once in a process and in those that it forks."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import boto3
from alembic.script import ScriptDirectory
from botocore.loaders import JSONFileLoader

from custody_pipeline.distribution import PACKAGE_DIR
from custody_pipeline.pages import environment
from custody_pipeline.warehouse.sql_files import load_models

_read = cache(partial(JSONFileLoader.load_file, JSONFileLoader()))
# Dagster reads ninety revisions for each database that it opens; every run has a new one.
revisions = cache(ScriptDirectory.from_config)


def load_file(_: JSONFileLoader, path: str) -> Any:
    """In place of boto3's loader, whose sessions each parse descriptions of AWS's services for a tenth of a second."""
    return _read(path)


def read_all() -> None:
    """Read the models, the template of the night's page, and the descriptions of the services that a night calls."""
    JSONFileLoader.load_file = load_file  # type: ignore[method-assign, assignment]
    ScriptDirectory.from_config = revisions  # type: ignore[method-assign]
    boto3.Session("nobody", "nothing", region_name="us-east-1").client("s3").close()
    environment(PACKAGE_DIR / "operations" / "templates").get_template("night_report.html")
    load_models()
