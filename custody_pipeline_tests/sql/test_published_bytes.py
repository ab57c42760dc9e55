"""The bytes of the published CSV files of three nights in which every situation occurs: they stay what they are.

A difference is either a mistake or a decision to publish something else. After a decision, write the golden file anew:

    WRITE_GOLDEN=1 python -m pytest custody_pipeline_tests/sql/test_published_bytes.py

Parquet is not compared: it carries the descriptions of tables and columns.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from custody_pipeline.models.run import model_params, refresh_events
from custody_pipeline.publish.tables import describe_table, export_table
from custody_pipeline.warehouse.bookkeeping import append_row_versions
from custody_pipeline.warehouse.content_hash import PUBLISHED_TABLES
from custody_pipeline.warehouse.ledger import Act, Actor, append_acts
from custody_pipeline_tests.sql.conftest import HEALTHY_AGENT, Night
from custody_pipeline_tests.sql.test_reasons import NEAR_MISSES, OF_SCRIPTS, PRESENT

if TYPE_CHECKING:
    from custody_pipeline_tests.sql.conftest import Row

GOLDEN = Path(__file__).parent / "published_bytes.json"
WRITE = "WRITE_GOLDEN" in os.environ

# Resources of the organisation as a whole: each situation has the same rows.
SHARED = ("published_scripts", "queues")

# Ids in given rows: conversations, recordings, jobs, orphans and exports.
_ID = re.compile(r"\b[crjoe]\d\b")


def given_every_situation(night: Night) -> None:
    """Each situation beside the others, under ids of its own."""
    for given in [*(given for given, _ in PRESENT), *NEAR_MISSES]:
        if given in OF_SCRIPTS:
            continue
        alone = Night(night.con, night.models, night.mapping, night.scratch)
        given(alone)
        for resource, rows in alone.rows.items():
            if resource not in SHARED:
                night.rows[resource] += _renamed(rows, given.__name__)
        night.failures += _renamed(alone.failures, given.__name__)


def _renamed(rows: list[Row], name: str) -> list[Row]:
    renamed: list[Row] = json.loads(_ID.sub(lambda found: f"{name}-{found[0]}", json.dumps(rows)))
    return renamed


def with_everything(night: Night) -> None:
    """API, bucket and live capture; the version of the first call's script is unknown."""
    given_every_situation(night)
    night.leg()["sessions"][0]["script_id"] = "unknown"


def without_api(night: Night) -> None:
    """The bucket and live capture alone."""
    given_every_situation(night)
    night.api = False


def before_the_watermark(night: Night) -> None:
    """Collected early: an old script, nothing that live capture missed, and one job that left recordings out."""
    given_every_situation(night)
    night.watermark = "2026-11-02 09:00:00"
    night.drop("published_scripts", version_id="2")
    night.rows["conversation_events"] = [row for row in night.rows["conversation_events"] if "recording_id" in row]
    night.rows["export_jobs"] = [row for row in night.rows["export_jobs"] if row["job_id"].startswith("sensitive-")]


def change_something(night: Night) -> None:
    """What a second collection may find different."""
    night.rows["media_digests"][0]["sha256"] = "d" * 64
    night.rows["recording_metadata"][0]["file_state"] = "DELETED"
    night.single("healthy-c1", agent={**HEALTHY_AGENT, "Disposition": "Escalated", "Note": 'a "quoted", =formula\r\n'})
    night.drop("export_sidecars", key_conversation_id="other_zone-c1")


def on_a_fixed_clock(night: Night) -> None:
    """The ledger's joins as if made at one time, by one version of the models."""
    night.con.execute(
        "UPDATE raw.acts SET occurred_at = TIMESTAMP '2026-11-06 03:00:00', how = 'the models', operator = 'someone', "
        "tool_version = '0.1.0', git_revision = NULL WHERE action = 'joined'"
    )


def published(night: Night, revision: int) -> None:
    """What publishing writes back."""
    on_a_fixed_clock(night)
    append_row_versions(night.con, night.day, revision=revision)
    night.insert(
        "publications",
        [
            {
                "revision": revision, "published_at": f"2026-11-{8 + revision:02d} 00:00:00",
                "completeness": "established",
                "content_sha256": f"{revision:064}", "cut_sha256": f"{revision + 10:064}",
                "cut_uri": f"s3://evidence/{revision}", "operator": "someone", "tool_version": "0.1.0",
            }
        ],
    )  # fmt: skip


def csv_sha256(night: Night, folder: Path) -> dict[str, str]:
    """SHA-256 of each table's CSV."""
    found = {}
    for name in PUBLISHED_TABLES:
        table = describe_table(night.con, name, night.models[f"custody.{name}"].grain)
        files = export_table(night.con, table, night.day, folder, revision=2)
        found[name] = next(file.sha256 for file in files if file.format == "csv")
    return found


def compare_all_pairs(night: Night) -> set[str]:
    """Models that DuckDB would join by comparing every row with every row.

    A condition on one side alone in the ON of a LEFT JOIN does that: a hundred times the rows are then ten thousand
    times the work. Without rows DuckDB would leave joins out.
    """
    found = set()
    for model in night.models.values():
        if model.schema in {"staging", "custody"}:
            params = model_params(model, night.mapping)
            # As text, DuckDB leaves out what lies deep in a plan.
            ((_, plan),) = night.execute(f"EXPLAIN (FORMAT JSON) {model.sql}", params).fetchall()
            if re.search("(?:BLOCKWISE_NL|NESTED_LOOP)_JOIN", plan):
                found.add(model.key)
    return found


# Lists of queues and scripts against those that the organisation has; two reasons against one row.
SMALL_ON_ONE_SIDE = {"staging.conversation_facts", "custody.reconciliation"}


@pytest.mark.parametrize("given", [with_everything, without_api, before_the_watermark])
def test_the_published_bytes_of_a_night_stay_the_same(
    night: Night, tmp_path: Path, given: Callable[[Night], None]
) -> None:
    given(night)
    night.run()
    published(night, 1)
    assert compare_all_pairs(night) <= SMALL_ON_ONE_SIDE
    change_something(night)
    night.run()
    published(night, 2)
    verified = Act(night.day, "verified", "the night", "routine", "by the tests", sha256_after="f" * 64)
    append_acts(night.con, Actor("counsel", "0.1.0", None), [verified])
    night.execute("UPDATE raw.acts SET occurred_at = TIMESTAMP '2026-11-20' WHERE action = 'verified'")
    refresh_events(night.con, night.day)
    found = csv_sha256(night, tmp_path)
    golden = json.loads(GOLDEN.read_text())
    if WRITE:
        golden[given.__name__] = found
        GOLDEN.write_text(json.dumps(golden, indent=2) + "\n")
    assert found == golden[given.__name__]
