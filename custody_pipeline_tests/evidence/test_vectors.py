"""Public test vectors: those of RFC 8785 itself, and the suites in `vectors/` (sources and licences there)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from custody_pipeline.evidence.log.merkle import verify_consistency, verify_inclusion
from custody_pipeline.evidence.log.note import ED25519, NoteError, Verifier

VECTORS = Path(__file__).with_name("vectors")


def vectors(name: str) -> list[dict[str, Any]]:
    """A suite that is kept one vector a line."""
    return [json.loads(line) for line in (VECTORS / f"{name}.ndjson").read_bytes().splitlines()]


# --- RFC 8785


def test_the_samples_of_rfc_8785_come_out_as_printed_there() -> None:
    """RFC 8785, 3.2.2 (values) and 3.2.3 (order of members)."""
    values: dict[str, Any] = {
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


@pytest.mark.parametrize("name", ["arrays", "french", "structures", "unicode", "values", "weird"])
def test_json_canonicalization(name: str) -> None:
    given, expected = (VECTORS / f"json-canonicalization/{side}/{name}.json" for side in ("input", "output"))

    assert rfc8785.dumps(json.loads(given.read_bytes())) == expected.read_bytes()


# --- Ed25519

ORDER = 2**252 + 27742317777372353535851937790883648493  # of the group; RFC 8032, 5.1


def accepts(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Verifier("wycheproof", ED25519, public_key).check(message, signature)
    except NoteError:
        return False
    return True


def test_wycheproof() -> None:
    tests = vectors("ed25519")
    wrong = [
        test["tcId"]
        for test in tests
        if accepts(*(bytes.fromhex(test[name]) for name in ("pk", "msg", "sig"))) is not (test["result"] == "valid")
    ]

    assert len(tests) > 100
    assert wrong == []


def test_a_signature_with_s_beyond_the_order_or_of_another_length_is_refused() -> None:
    test = next(test for test in vectors("ed25519") if test["result"] == "valid" and test["msg"])
    key, message, good = (bytes.fromhex(test[name]) for name in ("pk", "msg", "sig"))
    malleable = (int.from_bytes(good[32:], "little") + ORDER).to_bytes(32, "little")

    assert accepts(key, message, good)
    assert not accepts(key, message, good[:32] + malleable)
    assert not accepts(key, message, good[:-1])
    assert not accepts(key, message, good + b"\x00")


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
    proofs = vectors(f"merkle_{kind}")
    wrong = [proof["file"] for proof in proofs if holds(proof) is proof["wantErr"]]

    assert len(proofs) > 90
    assert wrong == []
