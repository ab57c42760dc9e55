"""Dagster's storage in a real Postgres, as several workers share it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster_postgres.utils import DagsterPostgresException

from custody_pipeline.defs.instance import open_instance
from custody_pipeline.operations.endings import ending_of
from custody_pipeline.settings import Settings
from custody_pipeline_tests.postgres import home_of, running_postgres


def test_workers_share_runs_and_limits_and_are_told_when_postgres_went_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_postgres() as port:
        theirs = home_of(tmp_path / "dagster", port, monkeypatch)
        before = (theirs / "dagster.yaml").read_bytes()
        with (
            open_instance(Settings(home=tmp_path / "one")) as one,
            open_instance(Settings(home=tmp_path / "two")) as two,
        ):
            run = dg.DagsterRun(job_name="nightly_custody", tags={"dagster/partition": "2026-11-02"})
            one.add_run(run)
            assert [found.run_id for found in two.get_runs()] == [run.run_id]
            one.event_log_storage.set_concurrency_slots("genesys", 1)
            assert two.event_log_storage.claim_concurrency_slot("genesys", run.run_id, "exports").is_claimed
            assert not one.event_log_storage.claim_concurrency_slot("genesys", "another", "exports").is_claimed
            # A pool without a limit of its own holds nobody up: each worker has its own warehouse.
            assert "duckdb" not in two.event_log_storage.get_concurrency_keys()
            queue = one.get_concurrency_config().run_queue_config
            assert queue is not None
            limit = queue.tag_concurrency_limits[-1]
            assert limit == {"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
        assert (theirs / "dagster.yaml").read_bytes() == before
    with pytest.raises(DagsterPostgresException) as gone, open_instance(Settings(home=tmp_path / "one")):
        pass
    line, status = ending_of(gone.value)
    assert (line.partition(";")[0], status) == ("Dagster's database cannot be reached (DagsterPostgresException)", 2)
