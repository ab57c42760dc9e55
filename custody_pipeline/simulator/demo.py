"""`custody demo`: a night, or several, of a simulated organisation, collected over HTTP and S3 like a real one.

Belongs here: starting the simulated vendor and a local S3 server, and the settings that point at them. Does not: the
night itself, which is the same as anywhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from custody_pipeline.io.s3 import s3_client, s3_store
from custody_pipeline.io.whole_file import write_whole
from custody_pipeline.settings import Settings, SettingsError, load_settings
from custody_pipeline.settings.table import variable
from custody_pipeline.simulator.local_s3 import LocalS3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client

    from custody_pipeline.defs.one_night import Outcome
    from custody_pipeline.simulator.organization import Organization

PUBLISH_BUCKET = "custody-demo-dataset"
# Set below.
_OF_THE_DEMO = {
    "home", "s3_endpoint_url", "s3_region", "export_url", "publish_url",
    "genesys_domain", "genesys_client_id", "genesys_client_secret",
}  # fmt: skip
# How a night works, here as anywhere.
_KEPT = {
    "operator", "owners", "duckdb_memory_limit", "landing_days", "runs_days", "genesys_requests_per_minute",
    "csv_compression", "first_night", "manifest_source", "single_reads", "retention_pages", "audit_days",
    "mapping_path", "retention_path", "fixity_bytes", "newer_within_days", "lock_mode", "lock_days", "legal_hold",
}  # fmt: skip
# Every other setting, also a new one: the demo alerts nobody, has its own keys, and uses no place, queue or service of
# a real deployment.
_OF_A_DEPLOYMENT = Settings.model_fields.keys() - _OF_THE_DEMO - _KEPT
# What nights leave in any home; the demo has its folder `demo` before.
_OF_A_HOME = ("landing", "publish", "warehouse.duckdb")
# The demo's runs go into its home. Its S3 server knows no session and no profile.
_ELSEWHERE = ("DAGSTER_HOME", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")


@dataclass(frozen=True)
class DemoOrganization:
    """The simulated organisation; everything else follows from these values. The last of its `nights` is `night`."""

    night: date
    size: int
    seed: int
    nights: int = 1

    @property
    def organizations(self) -> tuple[Organization, ...]:
        """Its nights, oldest first."""
        from custody_pipeline.simulator.organization import Organization, nights_of

        return nights_of(Organization(seed=self.seed, night=self.night, size=self.size), self.nights)

    @property
    def export_bucket(self) -> str:
        """Each organisation has its own bucket, so that nights of different organisations never mix."""
        return f"genesys-export-s{self.seed}-n{self.size}"


DEMO_ORGANIZATION = DemoOrganization(night=date(2026, 11, 2), size=400, seed=7)


@contextmanager
def demo_environment(home: Path, demo: DemoOrganization, say: Callable[[str], None]) -> Iterator[Settings]:
    """Run the simulated organisation and S3 until the block ends; the environment points at them meanwhile.

    Raises:
        SettingsError: the home is another deployment's.
    """
    from custody_pipeline.simulator.state import CLIENT_ID, CLIENT_SECRET

    if not (home / "demo").exists() and any((home / name).exists() for name in _OF_A_HOME):
        raise SettingsError(
            f"{home} has nights that are not the demo's; set CUSTODY_EXPORT_URL and the other settings of that "
            "deployment, or give the demo a folder of its own: --home FOLDER"
        )
    before = dict(os.environ)
    left_out = sorted({variable(name) for name in _OF_A_DEPLOYMENT} & os.environ.keys())
    for name in (*left_out, *_ELSEWHERE):
        os.environ.pop(name, None)
    if left_out:
        say(f"leaving out settings of a deployment: {', '.join(left_out)}")
    say("starting a local S3 server")
    with LocalS3(home) as endpoint:
        os.environ.update(
            AWS_ACCESS_KEY_ID=endpoint.access_key,
            AWS_SECRET_ACCESS_KEY=endpoint.secret_key,
            CUSTODY_HOME=str(home),
            CUSTODY_S3_ENDPOINT_URL=endpoint.url,
            CUSTODY_S3_REGION=endpoint.region,
            CUSTODY_EXPORT_URL=f"s3://{demo.export_bucket}",
            CUSTODY_PUBLISH_URL=f"s3://{PUBLISH_BUCKET}",
        )
        try:
            export_once(home, demo, say)
            say("starting the simulated organisation")
            with simulator_process(demo) as base_url:
                os.environ.update(
                    CUSTODY_GENESYS_DOMAIN=base_url,
                    CUSTODY_GENESYS_CLIENT_ID=CLIENT_ID,
                    CUSTODY_GENESYS_CLIENT_SECRET=CLIENT_SECRET,
                )
                yield load_settings()
        finally:
            os.environ.clear()
            os.environ.update(before)


def export_once(home: Path, demo: DemoOrganization, say: Callable[[str], None]) -> None:
    """Let the vendor's exporter write nights that are not written yet: exporting again would add object versions."""
    from custody_pipeline.simulator.exporter import export_night

    markers = {one: home / "demo" / f"{demo.export_bucket}-{one.night}.exported" for one in demo.organizations}
    missing = {one: marker for one, marker in markers.items() if not marker.exists()}
    if not missing:
        return
    client = s3_client(load_settings())
    for bucket in (demo.export_bucket, PUBLISH_BUCKET):
        ensure_bucket(client, bucket, lock=bucket == PUBLISH_BUCKET)
    say("exporting the night's recordings to S3, as the vendor does")
    for organization, marker in missing.items():
        forget_half_an_export(client, demo.export_bucket, organization.night)
        export_night(organization, client, demo.export_bucket, store=s3_store(load_settings(), demo.export_bucket))
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def ensure_bucket(client: S3Client, bucket: str, *, lock: bool) -> None:
    """A versioned bucket; with `lock`, a bucket with Object Lock."""
    if bucket in {found["Name"] for found in client.list_buckets()["Buckets"]}:
        return
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=lock)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def forget_half_an_export(client: S3Client, bucket: str, night: date) -> None:
    """Delete every version of the objects that a killed export left of a night."""
    day = f"year={night.year}/month={night.month}/day={night.day}/"
    padded = f"{night:year=%Y/month=%m/day=%d/}"
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
            if day in version["Key"] or padded in version["Key"]:
                client.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])


@contextmanager
def simulator_process(demo: DemoOrganization) -> Iterator[str]:
    """The simulated organisation as a separate process, on a port that the system chooses; yields its base URL.

    The process ends with this process in any case: its standard input is a pipe from here.
    """
    options = f"--port 0 --date {demo.night} --size {demo.size} --seed {demo.seed} --nights {demo.nights}".split()
    with subprocess.Popen(
        [sys.executable, "-m", "custody_pipeline.cli", "simulator", *options, "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C in the terminal is for us
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - asked for above
            base_url = process.stdout.readline().strip()
            if not base_url:
                raise RuntimeError(f"the simulated organisation did not start (exit status {process.wait()})")
            yield base_url
        finally:
            process.kill()  # it keeps nothing


def _matter_report(settings: Settings) -> Path:
    """A small matter about the night, and its page. A production would be an event of the night."""
    from custody_pipeline.matters.pages import matter_html
    from custody_pipeline.matters.register import matter_names, new_matter, open_matter, register_of
    from custody_pipeline.matters.standing import standing
    from custody_pipeline.warehouse.ledger import Actor

    if "demo" not in matter_names(settings):
        new_matter(settings, "demo", "Demo v. Acme", "4711", {"tags": ["Legal-Hold = true"]})
    matter, register = open_matter(settings, "demo"), register_of(settings, "demo")
    register.folder.mkdir(parents=True, exist_ok=True)
    path = register.folder / "report.html"
    page = matter_html(matter, standing(settings, matter, register), register, Actor.of(settings))
    path.write_text(page, encoding="utf-8")
    return path


def _earlier(settings: Settings, night: date, say: Callable[[str], None]) -> Outcome:
    from custody_pipeline.defs.one_night import run_one_night

    say(f"night of {night}")
    return run_one_night(settings, night)


def _went_well(outcome: Outcome) -> bool:
    return outcome.summary is not None and outcome.status < 2 and outcome.summary.unexplained == 0


def kept_demo(home: Path) -> DemoOrganization | None:
    """The organisation of a home in which the demo ran; None for any other home."""
    kept = home / "demo.json"
    if not kept.exists():
        return None
    result = orjson.loads(kept.read_bytes())
    found = result["organization"]
    return DemoOrganization(
        date.fromisoformat(result["night"]), found["conversations"], found["seed"], found.get("nights", 1)
    )


def run_demo(
    home: Path, demo: DemoOrganization, say: Callable[[str], None], *, profile: bool = False
) -> dict[str, Any]:
    """Run the whole night and write `demo.json` into `home`; with `profile`, also the profile of the night.

    Returns:
        The content of `demo.json`: the night's numbers, seconds by stage, and the places of the results.
    """
    from custody_pipeline.defs.one_night import run_one_night
    from custody_pipeline.publish.readback import read_back
    from custody_pipeline.simulator.demo_capture import capture_the_day, caught_tag

    *before, organization = demo.organizations
    started = time.monotonic()
    home.mkdir(parents=True, exist_ok=True)
    with demo_environment(home, demo, say) as settings:
        capture_the_day(settings, organization, say)
        ready = time.monotonic()
        earlier = [_earlier(settings, one.night, say) for one in before]
        outcome = run_one_night(settings, demo.night, profile=profile, say=say)
        ended = time.monotonic()
        say("reading the published dataset back from S3")
        files = read_back(settings, home / "published")
        caught = caught_tag(settings, organization, home / "published")
        result = {
            # The night's planted faults are findings; a demonstration fails if something stays unexplained.
            "ok": all(map(_went_well, (*earlier, outcome))),
            **outcome.to_dict(),
            "caught": caught,
            "organization": {"seed": demo.seed, "conversations": demo.size, "nights": demo.nights},
            "earlier": [one.to_dict() for one in earlier],
            "seconds": {
                "organization": round(ready - started, 2),
                "night": round(ended - ready, 2),
                "all": round(time.monotonic() - started, 2),
            },
            "uris": {
                "export": settings.export_url,
                "publish": settings.publish_url,
                "warehouse": str(settings.warehouse_path),
                "analyst": str(settings.analyst_path),
                "published": str(home / "published"),
            },
            "published_files": len(files),
            "matter_report": str(_matter_report(settings)) if outcome.summary else None,
        }
    kept = orjson.dumps(result, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_whole(home / "demo.json", kept)
    return result
