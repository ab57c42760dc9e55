"""`custody doctor` on buckets that are not as they should be: each is a line of its own with what to do.

A proxy before SeaweedFS refuses what an identity may not do, as S3 does.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.evidence.log.keys import new_key, write_new_key
from custody_pipeline.extract.genesys import GenesysClient
from custody_pipeline.extract.genesys_errors import LoginError
from custody_pipeline.matters.register import new_matter
from custody_pipeline.operations.api_probes import organization
from custody_pipeline.operations.doctor import examine
from custody_pipeline.operations.doctor_line import Line
from custody_pipeline.publish.place import PublishPlaceError, require_place
from custody_pipeline.publish.sealing import load_sealing
from custody_pipeline.settings import Settings, load_settings
from custody_pipeline.simulator.local_s3 import S3Endpoint
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline_tests.proxy import Answer, Proxy, Request, running_proxy

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.server


EXPORTED = "org/year=2026/month=11/day=2/hour=3/conversation_id=c/recording.opus"


@pytest.fixture
def proxy(server: S3Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Proxy]:
    """S3 as the settings name it."""
    with running_proxy(server.url) as proxy:
        monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
        monkeypatch.setenv("CUSTODY_S3_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("CUSTODY_S3_REGION", server.region)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        yield proxy


@pytest.fixture
def buckets(s3: S3Client, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Export and publish bucket, both as they should be; the first holds an object."""
    names = tuple(f"{use}-{uuid.uuid4().hex[:8]}" for use in ("exports", "dataset"))
    for name, lock in zip(names, (False, True), strict=True):
        s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=names[0], Key=EXPORTED, Body=b"x")
    monkeypatch.setenv("CUSTODY_EXPORT_URL", f"s3://{names[0]}")
    monkeypatch.setenv("CUSTODY_PUBLISH_URL", f"s3://{names[1]}/prod")
    return names[0], names[1]


def lines() -> dict[str, Line]:
    return {line.check: line for line in examine() if "bucket" in line.check}


def denied(
    when: Callable[[Request], bool], code: str = "AccessDenied", status: int = 403
) -> Callable[..., Answer | None]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Region>us-east-1</Region></Error>".encode()
    return lambda request: Answer(status, body) if when(request) else None


def test_buckets_as_they_should_be_are_all_ok(buckets: tuple[str, str]) -> None:
    checks = [f"export bucket{what}" for what in ("", " versioning", " versions")]
    checks += [f"publish bucket{what}" for what in ("", " versioning", " claims", " lock")]
    assert {check: line.state for check, line in lines().items()} == dict.fromkeys(checks, "ok")


def test_the_oldest_night_in_the_bucket_is_the_first_one_that_is_suggested(
    s3: S3Client, buckets: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> tuple[str, str]:
        return next((line.state, line.advice) for line in examine() if line.check == "first night")

    assert told() == ("not configured", "export CUSTODY_FIRST_NIGHT=2026-11-02")
    for year, month, day in ((2026, "09", 30), (2026, 9, 4), (2026, 2, 30), (0, 1, 1)):
        folder = f"org/year={year}/month={month}/day={day}"
        s3.put_object(Bucket=buckets[0], Key=f"{folder}/hour=3/conversation_id=c/recording.opus", Body=b"x")
    assert told() == ("not configured", "export CUSTODY_FIRST_NIGHT=2026-09-04")
    monkeypatch.setenv("CUSTODY_FIRST_NIGHT", "2026-10-01")
    assert told() == ("ok", "")


def test_an_s3_that_ignores_conditions_is_not_ok(buckets: tuple[str, str], proxy: Proxy) -> None:
    proxy.answer = lambda request: Answer(200) if request.method == "PUT" and b"again" in request.body else None
    line = lines()["publish bucket claims"]
    assert (line.state, line.found) == ("not ok", "a write under a condition that does not hold was accepted")


def test_a_bucket_without_versions_is_a_warning(s3: S3Client, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"plain-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key=EXPORTED, Body=b"x")
    monkeypatch.setenv("CUSTODY_EXPORT_URL", f"s3://{name}")
    line = lines()["export bucket versioning"]
    assert (line.state, line.found) == ("warning", "off")
    assert "Turn versioning on" in line.advice


def test_a_bucket_without_a_lock_matters_when_cuts_are_to_be_locked(
    s3: S3Client, buckets: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"open-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    monkeypatch.setenv("CUSTODY_PUBLISH_URL", f"s3://{name}/prod")
    assert lines()["publish bucket lock"].state == "warning"
    monkeypatch.setenv("CUSTODY_LOCK_MODE", "COMPLIANCE")
    line = lines()["publish bucket lock"]
    assert (line.state, line.found) == ("not ok", "off, but cuts are to be locked")
    assert "CUSTODY_LOCK_MODE" in line.advice


@pytest.mark.parametrize(
    ("when", "check", "state", "advice"),
    [
        (lambda r: "list-type" in r.query, "export bucket", "not ok", "s3:ListBucket, s3:GetObject"),
        (lambda r: r.path.endswith(".opus"), "export bucket", "not ok", "s3:ListBucket, s3:GetObject"),
        (lambda r: "versions" in r.query, "export bucket versions", "warning", "s3:ListBucketVersions"),
        (lambda r: "versioning" in r.query, "publish bucket versioning", "warning", "s3:GetBucketVersioning"),
        (lambda r: "object-lock" in r.query, "publish bucket lock", "warning", "s3:GetBucketObjectLockConfiguration"),
    ],
    ids=["list", "read", "list versions", "ask for versioning", "ask for the lock"],
)
def test_a_permission_that_is_missing_is_named(
    buckets: tuple[str, str], proxy: Proxy, when: Callable[[Request], bool], check: str, state: str, advice: str
) -> None:
    proxy.answer = denied(when)
    line = lines()[check]
    assert line.state == state
    assert advice in line.advice
    assert "Turn versioning on" not in line.advice


@pytest.mark.parametrize(
    ("part", "check", "state"),
    [("list-type", "export bucket", "not ok"), ("versions", "export bucket versions", "warning")],
)
def test_a_page_of_html_is_no_empty_bucket(
    buckets: tuple[str, str], proxy: Proxy, part: str, check: str, state: str
) -> None:
    proxy.answer = lambda request: Answer(200, b"<html>sign in</html>") if part in request.query else None
    line = lines()[check]
    assert (line.state, "no whole listing" in line.found) == (state, True)


@pytest.mark.parametrize(
    ("code", "status", "advice"),
    [
        ("InvalidAccessKeyId", 403, "AWS credentials"),
        ("AuthorizationHeaderMalformed", 400, "CUSTODY_S3_REGION"),
        ("RequestTimeTooSkewed", 403, "Synchronise this machine's clock"),
        ("TeaPot", 418, "TeaPot"),
    ],
)
def test_other_refusals_are_told_apart(
    buckets: tuple[str, str], proxy: Proxy, code: str, status: int, advice: str
) -> None:
    proxy.answer = denied(lambda _: True, code, status)
    line = lines()["publish bucket"]
    assert line.state == "not ok"
    assert advice in line.advice


def test_a_login_that_is_refused_says_once_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: GenesysClient) -> None:
        raise LoginError("POST /oauth/token", "HTTP 400", code="invalid_client")

    monkeypatch.setattr(GenesysClient, "identity", refuse)
    settings = Settings(genesys_domain="mypurecloud.de", genesys_client_id="i", genesys_client_secret="s")
    (line,) = organization(settings)
    assert line.found == "POST /oauth/token: HTTP 400, code invalid_client, 1 attempt"
    assert line.advice.startswith("Check CUSTODY_GENESYS_DOMAIN")


def test_a_bucket_that_is_not_there_is_named_with_its_variable(
    buckets: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTODY_PUBLISH_URL", "s3://nobody-made-this-bucket/prod")
    line = lines()["publish bucket"]
    assert line.state == "not ok"
    assert "correct CUSTODY_PUBLISH_URL" in line.advice


def test_an_export_bucket_without_exports_is_a_warning(
    s3: S3Client, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"empty-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="year-end/report.pdf", Body=b"x")
    monkeypatch.setenv("CUSTODY_EXPORT_URL", f"s3://{name}")
    line = lines()["export bucket"]
    assert (line.state, line.found) == ("warning", f"s3://{name} has no year=… folder: nothing was exported there")


def test_an_archived_object_is_named_with_s3s_own_code(buckets: tuple[str, str], proxy: Proxy) -> None:
    proxy.answer = denied(lambda r: r.path.endswith(".opus"), "InvalidObjectState")
    assert lines()["export bucket"].found.endswith("archived; restore it, then run again")


def test_credentials_that_are_limited_to_a_prefix_are_enough(
    s3: S3Client, buckets: tuple[str, str], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket=buckets[0], Key=f"ours/{EXPORTED}", Body=b"x")
    monkeypatch.setenv("CUSTODY_EXPORT_URL", f"s3://{buckets[0]}/ours")

    def is_beyond(request: Request) -> bool:
        in_bucket = request.path.strip("/") == buckets[0]
        return in_bucket and not request.query.get("prefix", "").startswith("ours/")

    proxy.answer = denied(is_beyond)
    states = {line.check: line.state for line in examine()}
    assert (states["export bucket"], states["clock"]) == ("ok", "ok")


@pytest.mark.parametrize("status", [400, 301])
def test_a_bucket_in_another_region_than_configured_is_read_there(
    buckets: tuple[str, str], proxy: Proxy, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """S3 names the region in a header, whatever else it answers."""
    code = {400: "AuthorizationHeaderMalformed", 301: "PermanentRedirect"}[status]
    refused = denied(lambda r: "/us-east-1/s3/" not in r.headers.get("authorization", ""), code, status)

    def elsewhere(request: Request) -> Answer | None:
        is_head = request.method == "HEAD" and request.path.strip("/") == buckets[0]
        answer = refused(request) or (Answer(200) if is_head else None)
        return answer and replace(answer, headers={"x-amz-bucket-region": "us-east-1"})

    proxy.answer = elsewhere
    monkeypatch.setenv("CUSTODY_S3_REGION", "eu-west-1")
    assert lines()["export bucket"].state == "ok"


@pytest.mark.parametrize(
    ("when", "told"),
    [
        (lambda r: "list-type" in r.query, "ListObjectsV2: AccessDenied"),
        (lambda r: r.method == "PUT", "PutObject: AccessDenied"),
        (lambda r: "list-type" in r.query, "ListObjectsV2: ExpiredToken.*: check the AWS credentials"),
        (lambda r: "list-type" in r.query, "ListObjectsV2: RequestTimeTooSkewed.*: synchronise this machine's clock"),
        (lambda r: "if-match" in r.headers, "PutObject: NotImplemented.*: use an S3 that honours If-Match"),
    ],
)
def test_a_night_that_could_not_be_published_is_not_begun(
    buckets: tuple[str, str], proxy: Proxy, when: Callable[[Request], bool], told: str
) -> None:
    code = told.split(": ")[1].removesuffix(".*")
    proxy.answer = denied(when, code, 501 if code == "NotImplemented" else 403)
    with pytest.raises(PublishPlaceError, match=told):
        require_place(load_settings())


@pytest.mark.parametrize("knows_conditions", [True, False])
def test_asking_whether_a_night_can_be_published_leaves_nothing_behind(
    s3: S3Client, buckets: tuple[str, str], proxy: Proxy, knows_conditions: bool
) -> None:
    def unconditionally(request: Request) -> Answer | None:
        if request.method != "PUT":
            return None
        s3.put_object(Bucket=buckets[1], Key=request.path.removeprefix(f"/{buckets[1]}/"), Body=b"")
        return Answer(200)

    proxy.answer = (lambda _: None) if knows_conditions else unconditionally
    require_place(load_settings())
    assert "Contents" not in s3.list_objects_v2(Bucket=buckets[1])
    assert any(request.method == "PUT" for request in proxy.requests)


def test_a_timestamp_authority_that_does_not_answer_is_not_ok(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_TIMESTAMP_URL", f"{proxy.url}/tsa")
    proxy.answer = lambda _: Answer(404)
    (line,) = [line for line in examine() if line.check == "sealing timestamp"]
    assert (line.state, line.found) == ("not ok", f"{proxy.url}/tsa gave no timestamp (HTTPError)")


def test_a_damaged_warehouse_is_not_ok_and_a_busy_one_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))

    def found() -> tuple[str, str]:
        (line,) = [line for line in examine() if line.check == "warehouse"]
        return line.state, line.found

    path = tmp_path / "warehouse.duckdb"
    (tmp_path / "publish").mkdir()
    (tmp_path / "publish" / "head").touch()
    assert found() == ("not ok", f"{path} is not there, and this home has sealed nights")
    # With a first night, every night from there on has a state.
    monkeypatch.setenv("CUSTODY_FIRST_NIGHT", "2026-11-02")
    new_matter(load_settings(), "smith", "", "", {"from": "2026-11-02", "to": "2026-11-03"})
    told = CliRunner().invoke(app, ["status"])
    assert (told.exit_code, "this home has sealed nights: custody rebuild" in told.stderr) == (2, True)
    for command in (["gaps"], ["matter", "show", "smith"]):
        told = CliRunner().invoke(app, command)
        assert "this home has sealed nights: custody rebuild" in str(told.exception)
    path.write_bytes(b"no database")
    state, what = found()
    assert (state, str(path) in what) == ("not ok", True)
    path.unlink()
    with Warehouse(load_settings()).open():
        assert found() == ("ok", "a run holds warehouse.duckdb")
    assert found() == ("ok", "warehouse.duckdb can be opened")


def test_the_second_key_of_a_rotation_is_tried_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, variable in (("acme.example", "SIGNING_KEY_FILE"), ("other.example", "NEXT_SIGNING_KEY_FILE")):
        write_new_key(tmp_path / name, new_key(name))
        monkeypatch.setenv(f"CUSTODY_{variable}", str(tmp_path / name))
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
    (line,) = [line for line in examine() if line.check == "sealing key"]
    assert (line.state, "the key is named other.example, the log acme.example" in line.found) == ("not ok", True)


@pytest.mark.parametrize("lost", ["demo.key", "salt"])
def test_a_key_or_a_salt_that_is_gone_is_told_before_a_night_stops_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lost: str
) -> None:
    monkeypatch.setenv("CUSTODY_HOME", str(tmp_path))
    load_sealing(load_settings())
    (tmp_path / "publish").mkdir()
    (tmp_path / "publish" / "head").touch()

    def sealing_key() -> Line:
        (line,) = [line for line in examine() if line.check == "sealing key"]
        return line

    assert (sealing_key().state, "a new home" in sealing_key().advice) == ("warning", True)  # a DEMO key
    (tmp_path / "keys" / lost).unlink()
    line = sealing_key()
    assert (line.state, f"{lost} is not there, and this home has sealed nights" in line.found) == ("not ok", True)
    assert not (tmp_path / "keys" / lost).exists()


def test_an_unknown_variable_is_not_ok_and_names_the_nearest_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODY_LOCK_MOD", "COMPLIANCE")
    (line,) = examine()
    assert (line.check, line.state) == ("settings", "not ok")
    assert line.found == "CUSTODY_LOCK_MOD is no setting; the nearest is CUSTODY_LOCK_MODE"
