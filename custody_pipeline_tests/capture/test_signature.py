"""A signature holds for exactly one body, one moment and one key."""

from __future__ import annotations

import base64
import subprocess

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from custody_pipeline.io.signature import SignatureError, Verifier, sign

SECRETS = {"k1": b"first-secret-of-test", "k2": b"second-secret-of-test"}
NOW = 1793613600
VERIFIER = Verifier(SECRETS, window_seconds=300, skew_seconds=30)


def refusal(header: str | None, body: bytes, now: float = NOW) -> str:
    with pytest.raises(SignatureError) as caught:
        VERIFIER.verify(header, body, now=now)
    return caught.value.code


@given(body=st.binary(max_size=4096), key_id=st.sampled_from(["k1", "k2"]), age=st.integers(-30, 300))
def test_what_a_holder_of_an_active_secret_signs_is_accepted(body: bytes, key_id: str, age: int) -> None:
    header = sign(body, key_id=key_id, secret=SECRETS[key_id], timestamp=NOW - age)
    assert VERIFIER.verify(header, body, now=NOW) == key_id


@given(body=st.binary(min_size=1, max_size=512), data=st.data())
def test_any_other_body_is_refused(body: bytes, data: st.DataObject) -> None:
    header = sign(body, key_id="k1", secret=SECRETS["k1"], timestamp=NOW)
    other = data.draw(st.binary(max_size=512))
    assume(other != body)
    assert refusal(header, other) == "signature_wrong"


@given(position=st.integers(0, 200), replacement=st.characters(min_codepoint=33, max_codepoint=126))
def test_any_changed_character_of_the_header_is_refused(position: int, replacement: str) -> None:
    header = sign(b"{}", key_id="k1", secret=SECRETS["k1"], timestamp=NOW)
    position %= len(header)
    changed = header[:position] + replacement + header[position + 1 :]
    assume(changed.lower() != header.lower())
    assert refusal(changed, b"{}") in {"signature_wrong", "signature_malformed"}


@given(cut=st.integers(0, 84))
def test_a_truncated_header_is_refused(cut: int) -> None:
    header = sign(b"{}", key_id="k1", secret=SECRETS["k1"], timestamp=NOW)
    assert refusal(header[:cut], b"{}") in {"signature_missing", "signature_malformed", "signature_wrong"}


@given(header=st.text(max_size=200))
def test_no_header_makes_the_verifier_fail_otherwise_than_by_refusing(header: str) -> None:
    with pytest.raises(SignatureError):
        VERIFIER.verify(header, b"{}", now=NOW)


@pytest.mark.parametrize(
    ("age", "code"),
    [(301, "timestamp_old"), (86400, "timestamp_old"), (-31, "timestamp_future"), (-1e9, "timestamp_future")],
)
def test_a_right_signature_of_another_time_is_refused(age: float, code: str) -> None:
    header = sign(b"{}", key_id="k1", secret=SECRETS["k1"], timestamp=int(NOW - age))
    assert refusal(header, b"{}") == code


def test_an_old_timestamp_is_not_confirmed_to_a_caller_without_the_secret() -> None:
    header = sign(b"{}", key_id="k1", secret=b"not-the-secret-at-all", timestamp=NOW - 3600)
    assert refusal(header, b"{}") == "signature_wrong"


def test_a_key_that_was_retired_is_refused() -> None:
    header = sign(b"{}", key_id="k0", secret=b"a-secret-of-last-year", timestamp=NOW)
    assert refusal(header, b"{}") == "signature_wrong"


def test_a_secret_does_not_serve_under_the_other_keys_name() -> None:
    assert refusal(sign(b"{}", key_id="k2", secret=SECRETS["k1"], timestamp=NOW), b"{}") == "signature_wrong"


def test_the_secret_of_an_unknown_key_is_not_thirty_two_zeros() -> None:
    assert refusal(sign(b"{}", key_id="nobody", secret=b"\0" * 32, timestamp=NOW), b"{}") == "signature_wrong"


def test_base64_is_accepted_as_well_as_hexadecimal() -> None:
    prefix, _, digits = sign(b"{}", key_id="k1", secret=SECRETS["k1"], timestamp=NOW).rpartition("=")
    assert VERIFIER.verify(f"{prefix}={base64.b64encode(bytes.fromhex(digits)).decode()}", b"{}", now=NOW) == "k1"


def test_openssl_computes_the_same() -> None:
    mac = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", SECRETS["k1"].decode()],
        input=f"{NOW}.k1.{{}}".encode(),
        capture_output=True,
        check=True,
    ).stdout.split()[-1]
    assert VERIFIER.verify(f"t={NOW},k=k1,v1={mac.decode()}", b"{}", now=NOW) == "k1"


def test_the_verifier_does_not_show_its_secrets() -> None:
    assert "secret-of" not in repr(VERIFIER)
