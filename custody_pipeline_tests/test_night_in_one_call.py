"""A whole night is one plain function: without Dagster, in one process, published and verified."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from custody_pipeline.io.s3 import s3_client
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.night import ChecksFailedError, Night, run
from custody_pipeline.operations.verification import verify_target
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.local_s3 import LocalS3
from custody_pipeline.simulator.organization import Organization
from custody_pipeline_tests.simulated import vendor

pytestmark = pytest.mark.server

DAY = date(2026, 11, 2)


def test_a_night_is_collected_modelled_published_and_not_published_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalS3(tmp_path / "s3") as s3:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
        organization = Organization(seed=7, night=DAY, size=6, faults=FaultPlan.none())
        home = tmp_path / "home"
        with vendor(organization, s3, home, bucket="exports", publish_url="s3://dataset/prod") as found:
            s3_client(found.settings).create_bucket(Bucket="dataset")
            night = Night(found.settings, load_mapping(found.settings.mapping_path), DAY)
            first, again = run(night), run(night)
            assert (first.revision, first.changed, again.revision, again.changed) == (1, True, 1, False)
            report = verify_target(
                found.settings, "s3://dataset/prod", keys=[], pinned=[], timestamp_roots=[], media="none", progress=None
            )
    assert report.status == 0


def test_a_night_whose_check_fails_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custody_pipeline.night.COLLECT", {})
    monkeypatch.setattr("custody_pipeline.night.check", lambda *_: {"row_conservation": [{"lost": 1}]})
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
    from custody_pipeline.settings import load_settings

    settings = load_settings()
    with pytest.raises(ChecksFailedError, match="row_conservation"):
        run(Night(settings, load_mapping(settings.mapping_path), DAY))
