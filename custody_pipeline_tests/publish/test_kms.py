"""Signing with a key in KMS: ministack's keys and signatures are real; refusals come from a proxy before it."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from custody_pipeline.evidence.cut.manifest import decode_cut
from custody_pipeline.evidence.log.keys import SigningKeyError
from custody_pipeline.operations.doctor import examine
from custody_pipeline.operations.verification import public_keys
from custody_pipeline.publish.kms import KmsSigner, kms_client
from custody_pipeline.publish.sealing import load_sealing
from custody_pipeline_tests.proxy import Answer, running_proxy
from custody_pipeline_tests.publish.memory import objects
from custody_pipeline_tests.publish.nights import OneNight, change_recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_kms import KMSClient
    from mypy_boto3_kms.literals import KeySpecType

    from custody_pipeline.settings import Settings
    from custody_pipeline_tests.proxy import Proxy, Request

pytestmark = pytest.mark.server

ORIGIN = "custody.example.com/eu"


@pytest.fixture
def kms(ministack: str, monkeypatch: pytest.MonkeyPatch) -> KMSClient:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    return boto3.Session().client("kms", endpoint_url=ministack, region_name="us-east-1")


@pytest.fixture
def proxy(ministack: str) -> Iterator[Proxy]:
    with running_proxy(ministack) as proxy:
        yield proxy


def make_key(kms: KMSClient, spec: KeySpecType = "ECC_NIST_EDWARDS25519") -> str:
    return kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]


def refuse(proxy: Proxy, operation: str, code: str, times: int = 1000) -> None:
    """The next requests of that name are answered with an error of KMS's JSON protocol."""
    left = times

    def answer(request: Request) -> Answer | None:
        nonlocal left
        if request.headers["x-amz-target"] != f"TrentService.{operation}" or not left:
            return None
        left -= 1
        body = json.dumps({"__type": code, "message": "as KMS says it"}).encode()
        return Answer(500 if code == "KMSInternalException" else 400, body, "application/x-amz-json-1.1")

    proxy.answer = answer


def test_a_night_is_sealed_handed_over_and_verified_with_keys_that_never_leave_kms(
    kms: KMSClient, ministack: str, night: OneNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_key(kms), make_key(kms)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", ministack)
    night.settings = night.settings.model_copy(update={"signing_key_kms": old, "log_origin": ORIGIN})
    night.publish()
    (trusted,) = public_keys(night.settings, [])
    night.settings = night.settings.model_copy(update={"next_signing_key_kms": new})
    change_recording(night.con, 0, "no")
    night.publish()
    cut = decode_cut(objects()["cuts/date=2026-11-02/r0002/cut.json"])
    assert list(cut.keys) == [key.vkey for key in public_keys(night.settings, [])]
    assert (trusted.name, trusted.demo, len(cut.keys)) == (ORIGIN, False, 2)

    change_recording(night.con, 0, "perhaps")
    night.publish(signing_key_kms=new, next_signing_key_kms=None)
    report = night.check(objects(), public_keys=[trusted])
    assert report.status == 0, report.summary()
    assert not list((night.settings.home / "keys").glob("*.key"))


@pytest.mark.parametrize(
    ("operation", "code", "says"),
    [
        ("GetPublicKey", "AccessDeniedException", "Allow kms:GetPublicKey on this key"),
        ("Sign", "AccessDeniedException", "Allow kms:Sign on this key"),
        ("Sign", "KMSInvalidStateException", "enable it"),
        ("Sign", "ThrottlingException", "Run the night again"),
        ("Sign", "UnheardOfException", "UnheardOfException"),
    ],
)
def test_a_refusal_says_what_was_asked_of_which_key_and_what_to_do(
    kms: KMSClient, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, operation: str, code: str, says: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # botocore's patience between attempts
    refuse(proxy, operation, code)
    key = make_key(kms)
    with pytest.raises(SigningKeyError, match=says) as refused:
        KmsSigner(kms_client(key, proxy.url), key, ORIGIN).sign(b"text\n")
    assert key in str(refused.value)
    assert f"kms:{operation}" in str(refused.value)


def test_nothing_is_sealed_when_kms_does_not_sign(
    kms: KMSClient, proxy: Proxy, night: OneNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(kms)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", proxy.url)
    monkeypatch.setenv("CUSTODY_SIGNING_KEY_KMS", key)
    monkeypatch.setenv("CUSTODY_LOG_ORIGIN", ORIGIN)
    night.settings = night.settings.model_copy(update={"signing_key_kms": key, "log_origin": ORIGIN})
    refuse(proxy, "Sign", "AccessDeniedException")
    with pytest.raises(SigningKeyError):
        night.publish()
    assert not [path for path in objects() if path.endswith(("cut.json", ".sig")) or path.startswith("log/")]
    (line,) = [line for line in examine() if line.check == "sealing key"]
    assert (line.state, "kms:Sign was refused" in line.found) == ("not ok", True)
    proxy.answer = lambda _: None
    night.publish()
    assert night.check(objects()).status == 0


def test_a_busy_kms_is_asked_again(kms: KMSClient, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    key = make_key(kms)
    signer = KmsSigner(kms_client(key, proxy.url), key, ORIGIN)
    refuse(proxy, "Sign", "ThrottlingException", times=3)
    signer.verifier.check(b"text\n", signer.sign(b"text\n"))
    assert [request.headers["x-amz-target"] for request in proxy.requests].count("TrentService.Sign") == 4


def test_a_signature_that_is_none_is_never_used(kms: KMSClient, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(kms)
    signer = KmsSigner(kms_client(key, proxy.url), key, ORIGIN)
    body = json.dumps({"KeyId": key, "Signature": "AAAA" * 21 + "AA==", "SigningAlgorithm": "ED25519_SHA_512"})
    proxy.answer = lambda _: Answer(200, body.encode(), "application/x-amz-json-1.1")
    with pytest.raises(SigningKeyError, match="does not verify"):
        signer.sign(b"text\n")


def test_a_key_of_another_kind_a_disabled_one_and_none_at_all_are_told_apart(kms: KMSClient, ministack: str) -> None:
    other = make_key(kms, "ECC_NIST_P256")
    with pytest.raises(SigningKeyError, match="ECC_NIST_EDWARDS25519"):
        KmsSigner(kms_client(other, ministack), other, ORIGIN)
    disabled = make_key(kms)
    signer = KmsSigner(kms_client(disabled, ministack), disabled, ORIGIN)
    kms.disable_key(KeyId=disabled)
    with pytest.raises(SigningKeyError, match="enable it"):
        signer.sign(b"text\n")
    nobody = disabled.rpartition("/")[0] + "/00000000-0000-4000-8000-000000000000"
    with pytest.raises(SigningKeyError, match="no such key"):
        KmsSigner(kms_client(nobody, ministack), nobody, ORIGIN)


def test_a_place_where_no_kms_answers_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    values: dict[str, Any] = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_KMS": f"http://127.0.0.1:{unused_port}",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    kms = {"signing_key_kms": "arn:aws:kms:eu-west-1:000000000000:key/k", "log_origin": ORIGIN}
    with pytest.raises(SigningKeyError, match="AWS_ENDPOINT_URL_KMS"):
        load_sealing(settings.model_copy(update=kms))


@pytest.fixture
def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_without_an_arn_a_region_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(SigningKeyError, match="by its ARN"):
        kms_client("alias/custody")
