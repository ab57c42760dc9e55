"""Signed notes (https://c2sp.org/signed-note): text, and who signed it.

Belongs here: the format, and checking signatures against known keys. Does not: making or storing keys (keys.py), what a
text says (checkpoint.py, evidence/cut/manifest.py).
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
MAX_SIGNATURES = 100
_EARLIEST, _LATEST = 1_577_836_800, 4_102_444_800
"""2020 and 2100, seconds since 1970: no log is older, and no correct clock is later."""
_PREFIX = "— "


class NoteError(ValueError):
    """A note is malformed, is not signed by a known key, or a signature of a known key is wrong."""


class UnknownSignerError(NoteError):
    """A note is well-formed, and none of the known keys signed it."""


class OtherLogError(NoteError):
    """A note names another log than the one whose key signed it."""


def check_name(name: str) -> str:
    """`name` if it may name a key.

    Raises:
        NoteError: it is empty, or holds a space, a plus sign or a control character.
    """
    if not name or "+" in name or any(char.isspace() or ord(char) < 0x20 for char in name):
        raise NoteError(f"{name!r} cannot name a key: no spaces, no plus signs, not empty")
    return name


class Signer(Protocol):
    """Signs note texts."""

    @property
    def verifier(self) -> Verifier:
        """The key that checks this signer's signatures."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes: the Ed25519 signature over `message` (at most 4,096 bytes)."""


@dataclass(frozen=True)
class Verifier:
    """A public key with a name.

    Attributes:
        kind: `ED25519` for logs and cuts, `COSIGNATURE_V1` for witnesses.
        public_key: 32 bytes.
    """

    name: str
    kind: int
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that mark this key's signatures: SHA-256(name || LF || signature type || public key)[:4]."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key).digest()[:4]

    @property
    def vkey(self) -> str:
        """`<name>+<key id in hex>+<base64(type || key)>`, the form in which public keys are handed over."""
        material = base64.b64encode(bytes([self.kind]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key's 32 bytes, in hex: to be compared by people over another channel."""
        return hashlib.sha256(self.public_key).hexdigest()

    @property
    def demo(self) -> bool:
        """True for a key that the demo made; it proves nothing to anybody."""
        return self.name.startswith(DEMO_PREFIX)

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """Read a verifier key.

        Raises:
            NoteError: it is malformed, of an unknown type, or its id is not that of its key.
        """
        parts = vkey.strip().split("+", 2)
        if len(parts) != 3:
            raise NoteError("a verifier key looks like name+0123abcd+AbCd…: three parts joined by plus signs")
        name, identity, material = check_name(parts[0]), parts[1], from_base64(parts[2], "a verifier key")
        if len(material) != 33 or material[0] not in (ED25519, COSIGNATURE_V1):
            raise NoteError(f"verifier key {name}: not an Ed25519 key of type 1 (log) or 4 (witness)")
        verifier = cls(name, material[0], material[1:])
        if verifier.key_id.hex() != identity:
            raise NoteError(f"verifier key {name}: its id {identity[:16]} is not the id of its key")
        return verifier

    def check(self, text: bytes, signature: bytes) -> int | None:
        """Check a signature over a note's text.

        Returns:
            For a witness the time of the cosignature (seconds since 1970); otherwise None.

        Raises:
            NoteError: the signature is wrong, or that of a witness is of a time before any log or far ahead.
        """
        message, time = text, None
        if self.kind == COSIGNATURE_V1:
            if len(signature) != 72:
                raise NoteError(f"the cosignature of {self.name} is not 72 bytes long")
            time = int(struct.unpack(">Q", signature[:8])[0])
            message, signature = cosigned_message(text, time), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise NoteError(f"the signature of {self.name} is wrong") from error
        if time is not None and not _EARLIEST <= time < _LATEST:
            raise NoteError(f"the cosignature of {self.name} is of no plausible time: {time}")
        return time


DEMO_PREFIX = "DEMO-"
"""The beginning of the name of every key that the demo made."""


def cosigned_message(text: bytes, time: int) -> bytes:
    """What a witness signs (https://c2sp.org/tlog-cosignature, Ed25519)."""
    return b"cosignature/v1\ntime %d\n" % time + text


@dataclass(frozen=True)
class Signature:
    """One signature line: the name of the signer, and 4 bytes of key id followed by the signature."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> bytes:
        """The line, with its line feed."""
        return f"{_PREFIX}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n".encode()


@dataclass(frozen=True)
class Note:
    """A parsed note; do not trust its text before `verified_by`."""

    text: bytes
    signatures: tuple[Signature, ...]

    @property
    def data(self) -> bytes:
        """The whole note."""
        return self.text + b"\n" + b"".join(signature.line for signature in self.signatures)

    def signed_by(self, keys: Sequence[Verifier]) -> Iterator[tuple[Verifier, Signature]]:
        """The signatures of known keys, unchecked."""
        for signature in self.signatures:
            for key in keys:
                if (key.name, key.key_id) == (signature.name, signature.key_id):
                    yield key, signature

    def verified_by(self, keys: Sequence[Verifier]) -> list[Verifier]:
        """The known keys that signed this note.

        Raises:
            UnknownSignerError: no known key signed it.
            NoteError: a signature of a known key is wrong.
        """
        signers = []
        for key, signature in self.signed_by(keys):
            key.check(self.text, signature.signature)
            signers.append(key)
        if not signers:
            names = ", ".join(f"{s.name}+{s.key_id.hex()}" for s in self.signatures)
            raise UnknownSignerError(f"none of the given public keys signed this; it is signed by {names}")
        return signers


def parse(data: bytes) -> Note:
    """Read a signed note.

    Raises:
        NoteError: it is not one, to the letter of the specification.
    """
    try:
        decoded = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteError("a note must be UTF-8") from error
    if any(ord(char) < 0x20 and char != "\n" for char in decoded):
        raise NoteError("a note holds no control characters")
    text, separator, tail = decoded.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise NoteError("a note is text, an empty line and signature lines, each ended by a line feed")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"more than {MAX_SIGNATURES} signatures")
    return Note(text.encode() + b"\n", tuple(_parse_line(line) for line in lines))


def _parse_line(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_PREFIX).partition(" ")
    if not line.startswith(_PREFIX) or not space:
        raise NoteError("a signature line is an em dash, the key's name and base64")
    signature = from_base64(encoded, "a signature")
    if len(signature) < 5:
        raise NoteError("a signature is shorter than a key id and one byte")
    return Signature(check_name(name), signature[:4], signature[4:])


def check_origin(origin: str, signers: Sequence[Verifier]) -> None:
    """A key signs for the log that has its name, and for no other.

    Raises:
        OtherLogError: `origin` is not the name of one of the keys.
    """
    if origin not in {key.name for key in signers}:
        raise OtherLogError(f"signed by {', '.join(key.name for key in signers)} for the log {origin}")


def sign(text: bytes, signers: Sequence[Signer]) -> Note:
    """A note over `text` (must end with a line feed), one signature line per signer.

    Raises:
        NoteError: the text cannot be a note's, or a signer made a signature that its own key refuses.
    """
    if not signers:
        raise NoteError("nobody to sign")
    signatures = []
    for signer in signers:
        verifier = signer.verifier
        signature = signer.sign(text)
        verifier.check(text, signature)
        signatures.append(Signature(check_name(verifier.name), verifier.key_id, signature))
    note = Note(text, tuple(signatures))
    if parse(note.data) != note:
        raise NoteError("the text cannot be a note's")
    return note


def from_base64(encoded: str, what: str) -> bytes:
    """The bytes of `what`. Raises NoteError unless the text is base64 in its canonical form."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise NoteError(f"{what} is not base64") from error
    if base64.b64encode(data).decode() != encoded:
        raise NoteError(f"{what} is not canonical base64")
    return data
