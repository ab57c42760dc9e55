from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from custody_pipeline.evidence.log.checkpoint import (
    Checkpoint,
    Head,
    InconsistentHeadError,
    cosigned_by,
    read_checkpoint,
    read_witness_request,
    sign_checkpoint,
    verify_checkpoint,
    witness_request,
)
from custody_pipeline.evidence.log.keys import (
    Ed25519Signer,
    SigningKeyError,
    load_signer,
    new_key,
    parse_public_keys,
    rotated_keys,
    rotation,
    signer_from_file,
    write_new_key,
)
from custody_pipeline.evidence.log.note import (
    COSIGNATURE_V1,
    Note,
    NoteError,
    Signature,
    Verifier,
    cosigned_message,
    parse,
    sign,
)
from custody_pipeline.publish.kms import KmsSigner
from custody_pipeline_tests.evidence.published import ORIGIN, OTHER, SIGNER

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"


# --- notes


def test_the_note_of_the_specification_is_verified() -> None:
    """The example of https://c2sp.org/signed-note."""
    key = Verifier.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    note = parse(
        "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7"
        "Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n".encode()
    )

    assert note.verified_by([key]) == [key]
    assert key.vkey == "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"


def test_a_note_may_be_signed_by_several_and_strangers_do_not_matter() -> None:
    note = sign(TEXT, [OTHER, SIGNER])

    assert parse(note.data) == note
    assert note.verified_by([SIGNER.verifier]) == [SIGNER.verifier]
    with pytest.raises(NoteError, match="none of the given public keys"):
        note.verified_by([Ed25519Signer("stranger", bytes(32)).verifier])


def test_a_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    forged = Signature(ORIGIN, SIGNER.verifier.key_id, OTHER.sign(TEXT))
    note = Note(TEXT, (*sign(TEXT, [OTHER]).signatures, forged))

    with pytest.raises(NoteError, match="is wrong"):
        note.verified_by([OTHER.verifier, SIGNER.verifier])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"\xff\n\n\xe2\x80\x94 a AAAAAAAA\n",
        b"tab\there\n\n\xe2\x80\x94 a AAAAAAAA\n",
        b"text\r\n\n\xe2\x80\x94 a AAAAAAAA\n",
        b"text\n\n- a AAAAAAAA\n",
        "text\n\n— a AAAAAAAA".encode(),
        "text\n\n— a AAAA\n".encode(),
        "text\n\n— a AAAAAAAB=\n".encode(),
        "text\n\n— a AAA AAAAA\n".encode(),
        "text\n\n— a+b AAAAAAAA\n".encode(),
        "text\n\n—  AAAAAAAA\n".encode(),
        "text\n\n— a\u2003b AAAAAAAA\n".encode(),
        ("text\n\n" + "— a AAAAAAAA\n" * 101).encode(),
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(NoteError):
        parse(data)


@given(st.binary(max_size=200))
def test_reading_never_fails_otherwise(data: bytes) -> None:
    for read in (parse, read_checkpoint, read_witness_request):
        try:
            read(data)
        except NoteError:
            continue


@pytest.mark.parametrize("vkey", ["", "a+b", "a b+00000000+AQ==", "name+00000000+AA==", "name+zz+!!", "name++"])
def test_what_is_no_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(NoteError):
        Verifier.parse(vkey)


def test_a_verifier_key_whose_id_is_not_its_own_is_refused() -> None:
    name, _, material = SIGNER.verifier.vkey.split("+", 2)

    with pytest.raises(NoteError, match="is not the id of its key"):
        Verifier.parse(f"{name}+00000000+{material}")


# --- keys


def test_a_key_comes_back_from_its_text() -> None:
    key = new_key("custody.example.com/eu")
    signer = load_signer(key.private + "\n")

    assert signer.verifier == Verifier.parse(key.public)
    assert sign(TEXT, [signer]).verified_by([signer.verifier])
    assert key.private.split("+", 4)[-1] not in repr(signer)


def test_a_demo_key_says_so_wherever_its_name_appears() -> None:
    signer = load_signer(new_key("custody.example.com/eu", demo=True).private)

    assert signer.verifier.demo
    assert not SIGNER.verifier.demo
    assert "— DEMO-custody.example.com/eu " in sign(TEXT, [signer]).data.decode()


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\nbreak"])
def test_a_name_that_notes_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(NoteError, match="cannot name a key"):
        new_key(name)


def test_a_damaged_key_is_refused_and_never_repeated() -> None:
    private = new_key("a").private
    secret = private.split("+", 4)[-1]  # base64, which may hold a plus itself
    prefix = private.removesuffix(f"+{secret}")
    other = base64.b64encode(b"\x01" + bytes(32)).decode()
    for text in ("", "secret", f"{prefix}+{secret[:-8]}", f"{prefix}+{other}", f"{prefix}+?"):
        with pytest.raises(SigningKeyError) as refused:
            load_signer(text)
        assert secret[:20] not in str(refused.value)


def test_a_key_file_is_for_its_owner_alone_and_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    key = new_key("a")

    public = write_new_key(path, key)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signer_from_file(path).verifier == Verifier.parse(key.public)
    assert parse_public_keys("# the log\n\n" + public.read_text()) == [Verifier.parse(key.public)]
    with pytest.raises(FileExistsError):
        write_new_key(path, new_key("a"))


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    write_new_key(path, new_key("a"))
    path.chmod(0o644)

    with pytest.raises(SigningKeyError, match="chmod 600"):
        signer_from_file(path)
    with pytest.raises(SigningKeyError, match="none: No such file"):
        signer_from_file(tmp_path / "none")


class Kms:
    """What AWS KMS does with an Ed25519 key, limits included."""

    def __init__(self, der: bytes) -> None:
        self._der = der
        self.requests: list[Mapping[str, Any]] = []

    def get_public_key(self, **request: Any) -> Mapping[str, Any]:
        assert request == {"KeyId": "arn:aws:kms:eu-west-1:1:key/k"}
        return {"PublicKey": self._der, "KeySpec": "ECC_NIST_EDWARDS25519"}

    def sign(self, **request: Any) -> Mapping[str, Any]:
        self.requests.append(request)
        assert len(request["Message"]) <= 4096
        return {"Signature": SIGNER.sign(request["Message"])}


def test_kms_signs_what_the_public_key_verifies() -> None:
    public = Ed25519PublicKey.from_public_bytes(SIGNER.verifier.public_key)
    kms = Kms(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    signer = KmsSigner(cast("KMSClient", kms), "arn:aws:kms:eu-west-1:1:key/k", ORIGIN)

    note = sign(TEXT, [signer])

    assert note.verified_by([SIGNER.verifier])
    (request,) = kms.requests
    assert (request["MessageType"], request["SigningAlgorithm"]) == ("RAW", "ED25519_SHA_512")


def test_a_kms_key_of_another_kind_is_refused() -> None:
    der = generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    with pytest.raises(SigningKeyError, match="ECC_NIST_EDWARDS25519"):
        KmsSigner(cast("KMSClient", Kms(der)), "arn:aws:kms:eu-west-1:1:key/k", ORIGIN)


def test_a_rotation_names_both_fingerprints_and_carries_trust_over() -> None:
    statement = rotation(ORIGIN, [SIGNER], [OTHER])

    assert rotated_keys(statement.data, ORIGIN, [SIGNER.verifier])[1] == [OTHER.verifier]
    for key in (SIGNER.verifier, OTHER.verifier):
        assert key.fingerprint in statement.text.decode()
    with pytest.raises(NoteError, match="none of the old keys"):
        rotated_keys(statement.data, ORIGIN, [OTHER.verifier])
    with pytest.raises(NoteError, match="not a key rotation of"):
        rotated_keys(statement.data, "another.example", [SIGNER.verifier])


def test_a_rotation_leads_to_no_key_of_another_log() -> None:
    stranger = Ed25519Signer("custody.example.com/other", bytes([9]) * 32)

    with pytest.raises(NoteError, match="a log keeps its name"):
        rotated_keys(rotation(ORIGIN, [SIGNER], [stranger]).data, ORIGIN, [SIGNER.verifier])


def test_a_rotation_that_the_old_key_did_not_sign_carries_nothing_over() -> None:
    stolen = sign(rotation(ORIGIN, [SIGNER], [OTHER]).text, [OTHER])

    with pytest.raises(NoteError, match="none of the given public keys signed this"):
        rotated_keys(stolen.data, ORIGIN, [SIGNER.verifier])


# --- checkpoints

EMPTY = Head.empty(ORIGIN)


def test_a_checkpoint_comes_back_from_its_note() -> None:
    head = Head(ORIGIN, 7, bytes([7]) * 32)
    checkpoint = sign_checkpoint(head, [SIGNER, OTHER], EMPTY, [])

    assert verify_checkpoint(checkpoint.note.data, [SIGNER.verifier], ORIGIN) == checkpoint
    assert witness_request(0, [], checkpoint).startswith(f"old 0\n\n{ORIGIN}\n7\n".encode())
    assert read_witness_request(witness_request(0, [], checkpoint)) == (0, [], checkpoint)
    with pytest.raises(NoteError, match="not of elsewhere"):
        verify_checkpoint(checkpoint.note.data, [SIGNER.verifier], "elsewhere")


@pytest.mark.parametrize(
    ("head", "before"),
    [
        (Head(ORIGIN, 6, bytes(32)), Head(ORIGIN, 7, bytes(32))),
        (Head(ORIGIN, 7, bytes(32)), Head(ORIGIN, 7, bytes([1]) * 32)),
        (Head(ORIGIN, 8, bytes(32)), Head(ORIGIN, 7, bytes([1]) * 32)),
        (Head(ORIGIN, 0, bytes(32)), Head.empty(ORIGIN)),
        (Head("elsewhere", 8, bytes(32)), Head.empty(ORIGIN)),
    ],
)
def test_a_head_that_does_not_extend_the_signed_one_is_never_signed(head: Head, before: Head) -> None:
    with pytest.raises(InconsistentHeadError):
        sign_checkpoint(head, [SIGNER], before, [])


@pytest.mark.parametrize(
    "text",
    ["o\n1\n", "o\n01\nAAAA\n", "o\n-1\nAAAA\n", "o\n1\nAAAA\n", "o\n1\n!\n", "o\n\n1\n", f"o\n1\n{'A' * 43}=\n\nx\n"],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        read_checkpoint(sign(text.encode(), [SIGNER]).data)


def with_signature(checkpoint: Checkpoint, signature: Signature) -> Checkpoint:
    note = checkpoint.note
    return Checkpoint(checkpoint.head, Note(note.text, (*note.signatures, signature)))


def test_a_witness_cosignature_is_verified_with_its_time() -> None:
    checkpoint = sign_checkpoint(Head(ORIGIN, 7, bytes(32)), [SIGNER], EMPTY, [])
    secret = Ed25519Signer("witness.example/w1", bytes([9]) * 32)
    witness = Verifier(secret.verifier.name, COSIGNATURE_V1, secret.verifier.public_key)
    time = 1_793_836_800
    signature = time.to_bytes(8, "big") + secret.sign(cosigned_message(checkpoint.note.text, time))
    cosigned = with_signature(checkpoint, Signature(witness.name, witness.key_id, signature))

    assert cosigned_by(read_checkpoint(cosigned.note.data), [witness]) == {witness.name: time}
    assert verify_checkpoint(cosigned.note.data, [SIGNER.verifier])
    assert Verifier.parse(witness.vkey) == witness
    digest = hashlib.sha256(witness.name.encode() + b"\n\x04" + witness.public_key).digest()
    assert witness.key_id == digest[:4] != secret.verifier.key_id
    later = (time + 1).to_bytes(8, "big") + signature[8:]
    forged = with_signature(checkpoint, Signature(witness.name, witness.key_id, later))
    with pytest.raises(NoteError, match="is wrong"):
        cosigned_by(forged, [witness])
