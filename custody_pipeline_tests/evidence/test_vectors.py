"""Public test vectors: a few that always run, and the whole suites where their repositories are at hand.

git clone https://github.com/cyberphone/json-canonicalization  $DIR/json-canonicalization
git clone https://github.com/transparency-dev/merkle           $DIR/merkle
git clone https://github.com/C2SP/wycheproof                   $DIR/wycheproof
CUSTODY_TEST_VECTORS=$DIR pytest custody_pipeline_tests/evidence/test_vectors.py
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from custody_pipeline.evidence.merkle import verify_consistency, verify_inclusion
from custody_pipeline.evidence.note import ED25519, NoteError, Verifier

SUITES = Path(os.environ.get("CUSTODY_TEST_VECTORS", "/nonexistent"))


def suite(folder: str, pattern: str) -> list[Path]:
    """The files of a suite; one placeholder, skipped, where it is not at hand."""
    found = sorted((SUITES / folder).glob(pattern))
    return found or [pytest.param(None, marks=pytest.mark.skip(reason="CUSTODY_TEST_VECTORS is not set"))]  # type: ignore[list-item]


# --- RFC 8785


def test_the_samples_of_rfc_8785_come_out_as_printed_there() -> None:
    """RFC 8785, 3.2.2 (values) and 3.2.3 (order of members)."""
    values = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]

    assert rfc8785.dumps(values).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert list(json.loads(rfc8785.dumps(dict.fromkeys(names, 1)))) == [
        "\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33",
    ]  # fmt: skip


@pytest.mark.parametrize("path", suite("json-canonicalization", "testdata/input/*.json"))
def test_json_canonicalization(path: Path) -> None:
    expected = (path.parents[1] / "output" / path.name).read_bytes()

    assert rfc8785.dumps(json.loads(path.read_bytes())) == expected


# --- Ed25519

WYCHEPROOF_KEY = bytes.fromhex("7d4d0e7f6153a69b6242b522abbee685fda4420f8834b108c3bdae369ef549fa")
ORDER = "edd3f55c1a631258d69cf7a2def9de14" + "0" * 30 + "10"
WYCHEPROOF = [
    # tcId 1, 3, 5: valid
    ("", "d4fbdb52bfa726b44d1786a8c0d171c3e62ca83c9e5bbe63de0bb2483f8fd6cc"
         "1429ab72cafc41ab56af02ff8fcc43b99bfe4c7ae940f60f38ebaa9d311c4007", True),
    ("54657374", "7c38e026f29e14aabd059a0f2db8b0cd783040609a8be684db12f82a27774ab0"
                 "7a9155711ecfaf7f99f277bad0c6ae7e39d4eef676573336a5c51eb6f946b30d", True),
    ("313233343030", "657c1492402ab5ce03e2c3a7f0384d051b9cf3570f1207fc78c1bcc98c281c2b"
                     "f0cf5b3a289976458a1be6277a5055545253b45b07dcc1abd96c8b989c00f301", True),
    # tcId 10, 11, 16, 18, 20, 25: special values of r and s, invalid
    ("3f", "00" * 64, False),
    ("3f", "00" * 32 + "01" + "00" * 31, False),
    ("3f", "01" + "00" * 31 + "01" + "00" * 31, False),
    ("3f", "01" + "00" * 31 + ORDER, False),
    ("3f", ORDER + "00" * 32, False),
    ("3f", "ed" + "ff" * 30 + "7f" + "00" * 32, False),
]  # fmt: skip


def accepts(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Verifier("wycheproof", ED25519, public_key).check(message, signature)
    except NoteError:
        return False
    return True


@pytest.mark.parametrize(("message", "signature", "valid"), WYCHEPROOF)
def test_a_subset_of_wycheproof(message: str, signature: str, valid: bool) -> None:
    """From testvectors_v1/ed25519_test.json."""
    assert accepts(WYCHEPROOF_KEY, bytes.fromhex(message), bytes.fromhex(signature)) is valid


def test_a_signature_with_s_beyond_the_order_or_of_another_length_is_refused() -> None:
    message, signature, _ = WYCHEPROOF[1]
    good = bytes.fromhex(signature)
    malleable = (int.from_bytes(good[32:], "little") + int.from_bytes(bytes.fromhex(ORDER), "little")).to_bytes(
        32, "little"
    )

    assert not accepts(WYCHEPROOF_KEY, bytes.fromhex(message), good[:32] + malleable)
    assert not accepts(WYCHEPROOF_KEY, bytes.fromhex(message), good[:-1])
    assert not accepts(WYCHEPROOF_KEY, bytes.fromhex(message), good + b"\x00")


@pytest.mark.parametrize("path", suite("wycheproof", "testvectors_v1/ed25519_test.json"))
def test_wycheproof(path: Path) -> None:
    groups = json.loads(path.read_bytes())["testGroups"]
    tests = [(bytes.fromhex(group["publicKey"]["pk"]), test) for group in groups for test in group["tests"]]
    wrong = [
        test["tcId"]
        for key, test in tests
        if accepts(key, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])) is not (test["result"] == "valid")
    ]

    assert len(tests) > 100
    assert wrong == []


# --- Merkle proofs


def hashes(values: list[str] | None) -> list[bytes]:
    return [base64.b64decode(value) for value in values or []]


def holds(vector: dict[str, Any]) -> bool:
    proof = hashes(vector["proof"])
    try:
        if "leafIdx" in vector:
            leaf, root = hashes([vector["leafHash"] or "", vector["root"] or ""])
            verify_inclusion(leaf, vector["leafIdx"], vector["treeSize"], proof, root)
        else:
            old, new = hashes([vector["root1"] or "", vector["root2"] or ""])
            verify_consistency(vector["size1"], vector["size2"], proof, old, new)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_merkle_proofs(kind: str) -> None:
    files = list((SUITES / "merkle/testdata" / kind).rglob("*.json"))
    if not files:
        pytest.skip("CUSTODY_TEST_VECTORS is not set")
    wrong = []
    for file in files:
        vector = json.loads(file.read_bytes())
        if holds(vector) is bool(vector["wantErr"]):
            wrong.append(str(file))

    assert len(files) > 90
    assert wrong == []
