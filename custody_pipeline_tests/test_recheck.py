"""A night from its first collection until it is final: what a recheck changes, and what it says about that.

The clocks are the simulated vendor's and ours, moved together; the API and S3 are real. The first run and the first
recheck are runs of Dagster's, the others the same steps without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch

import dagster as dg
import pytest

from custody_pipeline.definitions import defs
from custody_pipeline.defs.nightly import every_recheck, nights_to_recheck
from custody_pipeline.defs.published import WHY_TAG
from custody_pipeline.defs.resources import Deployment
from custody_pipeline.io import clock
from custody_pipeline.io.s3 import s3_client, s3_store
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.night import Night, check, collect, model, publish
from custody_pipeline.publish import publication as publishing
from custody_pipeline.settings import Settings, load_settings
from custody_pipeline.simulator.exporter import export_night
from custody_pipeline.simulator.faults import FaultPlan
from custody_pipeline.simulator.local_s3 import LocalS3
from custody_pipeline.simulator.organization import Organization
from custody_pipeline_tests.simulated import rows, vendor

pytestmark = pytest.mark.server

NIGHT = date(2026, 11, 2)
MIDNIGHT = datetime(2026, 11, 3, tzinfo=UTC)
FAULTS = FaultPlan.only("NOT_YET_AVAILABLE", "EXPORT_PENDING", "SIDECAR_MISSING", "TAG_CONFLICT")
# Hours after the night's end: its first collection, the watermark passed, a late export, the lag of 72 hours passed.
COLLECTED, AVAILABLE, EXPORTED, SETTLED = 2.5, 14.5, 29.5, 77.5


class Clock(datetime):
    """A `datetime` whose `now` is where the test has put it."""

    at = MIDNIGHT

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.at.astimezone(tz)

    @classmethod
    def fromisoformat(cls, text: str) -> datetime:  # type: ignore[override]
        return datetime.fromisoformat(text)


@dataclass(frozen=True)
class Phase:
    """The night as it stood after one collection."""

    state: str
    gaps: set[tuple[str, str]]
    revisions: dict[str, int]
    row_hashes: dict[str, str]
    objects: dict[str, str | None]
    tags: dict[str, str]
    events: list[dict[str, Any]]
    cut: dict[str, Any]
    pending: dict[str, str]


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[float, Phase]]:
    home = tmp_path_factory.mktemp("home")
    organization = Organization(night=NIGHT, size=24, faults=FAULTS)
    with pytest.MonkeyPatch.context() as patched, LocalS3(home) as s3, dg.DagsterInstance.ephemeral() as instance:
        for module in (clock, publishing):
            patched.setattr(module, "datetime", Clock)
        patched.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
        patched.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
        with vendor(organization, s3, home, bucket="exports", publish_url="s3://dataset") as found_at:
            settings = found_at.settings
            for name, value in settings.model_dump(exclude_defaults=True).items():
                secret = settings.genesys_client_secret
                text = secret.get_secret_value() if name == "genesys_client_secret" and secret else str(value)
                patched.setenv(f"CUSTODY_{name.upper()}", text)
            client = s3_client(settings)
            client.create_bucket(Bucket="dataset")
            story: dict[float, Phase] = {}
            before = organization.clock
            for hours in (COLLECTED, AVAILABLE, EXPORTED, SETTLED):
                Clock.at = MIDNIGHT + timedelta(hours=hours)
                assert found_at.server is not None
                found_at.server.world.set_now(Clock.at)
                later = organization.at(Clock.at)
                if hours != COLLECTED:
                    export_night(later, client, "exports", store=s3_store(settings, "exports"), since=before)
                before = Clock.at
                if hours in (COLLECTED, AVAILABLE):
                    run("nightly_custody" if hours == COLLECTED else "recheck_custody", instance)
                else:
                    run_plain(settings, asked_for("recheck_custody").tags[WHY_TAG])
                story[hours] = phase(settings, client)
            yield story


def asked_for(job: str) -> dg.RunRequest:
    """The night's first run, or the one that the schedule of rechecks asks for."""
    requests: list[Any] = [dg.RunRequest(partition_key=NIGHT.isoformat())]
    if job == "recheck_custody":
        resources = {"deployment": Deployment()}
        with dg.build_schedule_context(scheduled_execution_time=Clock.at, resources=resources) as context:
            asked = every_recheck(context)
            requests = list(asked) if isinstance(asked, Iterator) else []
    # Later nights are missing, as their time comes: this organisation has one night.
    (request,) = [request for request in requests if request.partition_key == NIGHT.isoformat()]
    assert isinstance(request, dg.RunRequest)
    return request


def run(job: str, instance: dg.DagsterInstance) -> None:
    """A run of Dagster's."""
    request = asked_for(job)
    with patch("os.setpriority") as lower:  # of a process that runs other tests too
        defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key=request.partition_key,
            tags=request.tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    assert lower.called == (job == "recheck_custody")


def run_plain(settings: Settings, why: str) -> None:
    """The steps of a run, without Dagster."""
    night = Night(settings, load_mapping(settings.mapping_path), NIGHT)
    collect(night)
    with night.warehouse.open() as con:
        model(con, night)
        assert not any(check(con, night).values())
        publish(con, night, why)


def phase(settings: Settings, client: Any) -> Phase:
    """What the warehouse and the newest cut say now."""
    ((state,),) = rows(settings, f"SELECT state FROM custody.nights WHERE partition_date = '{NIGHT}'")
    chain = rows(
        settings,
        "SELECT recording_id, revision, row_sha256, object_uri, custom_data_state FROM custody.chain_of_custody",
    )
    events = rows(
        settings, "SELECT recording_id, action, why, how, sha256_before, sha256_after, what FROM custody.custody_events"
    )
    names = ("recording_id", "action", "why", "how", "sha256_before", "sha256_after", "what")
    cuts = client.list_objects_v2(Bucket="dataset", Prefix="cuts/")["Contents"]
    newest = max(item["Key"] for item in cuts if item["Key"].endswith("/cut.json"))
    return Phase(
        state=str(state),
        gaps={
            (str(name), str(reason)) for name, reason in rows(settings, "SELECT recording_id, reason FROM custody.gaps")
        },
        revisions={str(row[0]): int(str(row[1])) for row in chain},
        row_hashes={str(row[0]): str(row[2]) for row in chain},
        objects={str(row[0]): None if row[3] is None else str(row[3]) for row in chain},
        tags={str(row[0]): str(row[4]) for row in chain},
        events=[dict(zip(names, row, strict=True)) for row in events],
        cut=json.loads(client.get_object(Bucket="dataset", Key=newest)["Body"].read()),
        pending=nights_to_recheck(load_settings()),
    )


def test_a_night_is_open_then_provisional_then_final(phases: dict[float, Phase]) -> None:
    assert [phase.state for phase in phases.values()] == ["open", "provisional", "provisional", "final"]
    assert [NIGHT.isoformat() in phase.pending for phase in phases.values()] == [True, True, True, False]


def test_gaps_close_as_the_vendor_catches_up_and_others_stay(phases: dict[float, Phase]) -> None:
    first = {"NOT_YET_AVAILABLE", "EXPORT_PENDING", "SIDECAR_MISSING", "TAG_CONFLICT"}
    assert [{reason for _, reason in phase.gaps} for phase in phases.values()] == [
        first,
        first - {"NOT_YET_AVAILABLE"},
        {"SIDECAR_MISSING", "TAG_CONFLICT"},
        {"SIDECAR_MISSING", "TAG_CONFLICT"},
    ]


def test_what_changed_is_a_new_revision_and_nothing_else_is(phases: dict[float, Phase]) -> None:
    assert [phase.cut["revision"] for phase in phases.values()] == [1, 2, 3, 3]
    collected, available, exported, settled = phases.values()
    late_tags = {name for name, tags in collected.tags.items() if tags == "unavailable"}
    assert late_tags
    assert {name for name, revision in available.revisions.items() if revision == 2} == late_tags
    assert {available.tags[name] for name in late_tags} == {"present"}
    late_objects = {name for name, uri in collected.objects.items() if uri is None}
    assert late_objects
    assert {name for name, revision in exported.revisions.items() if revision == 3} == late_objects
    assert all(exported.objects[name] for name in late_objects)
    assert settled.row_hashes == exported.row_hashes


def test_each_revision_says_what_changed_and_why(phases: dict[float, Phase]) -> None:
    collected, available, exported, settled = phases.values()
    late_tags = {name for name, revision in available.revisions.items() if revision == 2}
    published = [
        event for event in available.events if event["action"] == "published" and event["what"] == "revision 2"
    ]
    changed = {event["recording_id"]: event for event in published if event["recording_id"]}
    assert changed.keys() == late_tags
    for name, event in changed.items():
        assert (event["sha256_before"], event["sha256_after"]) == (
            collected.row_hashes[name],
            available.row_hashes[name],
        )
    whys = [str(event["why"]) for event in settled.events if event["action"] == "rechecked"]
    assert sorted(whys) == [
        f"recheck of a night that is open: gaps of {waiting(collected)} recordings may still close",
        f"recheck of a night that is provisional: gaps of {waiting(exported)} recordings may still close",
        f"recheck of a night that is provisional: gaps of {waiting(available)} recordings may still close",
    ]
    for before, after, sealed_before in ((collected, available, 1), (available, exported, 2)):
        superseded = after.cut["supersedes"]
        assert superseded["revision"] == sealed_before
        assert superseded["why"] == before.pending[NIGHT.isoformat()]
        assert superseded["changed"] == len([name for name in after.revisions.values() if name == sealed_before + 1])


def waiting(phase: Phase) -> int:
    """Recordings with a gap that a recheck may close."""
    return len(
        {name for name, reason in phase.gaps if reason in {"NOT_YET_AVAILABLE", "EXPORT_PENDING", "SIDECAR_MISSING"}}
    )
