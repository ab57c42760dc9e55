"""Signing keys: made, read from a file or a secret; and their rotation.

Belongs here: turning key material into a `Signer`. Does not: what is signed, keys in AWS KMS (publish/kms.py).

A private key is one line, in the form of Go's sumdb/note: `PRIVATE+KEY+<name>+<key id>+<base64(0x01 || seed)>`. The
line includes the key's name, so nothing else is needed.
"""

from __future__ import annotations

import base64
import errno
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custody_pipeline.evidence.log.note import (
    DEMO_PREFIX,
    ED25519,
    Note,
    NoteError,
    Signer,
    Verifier,
    check_name,
    parse,
    sign,
)
from custody_pipeline.io.whole_file import why_unreadable

_PRIVATE = "PRIVATE+KEY+"
_ROTATION = "custody-key-rotation/v1"


class SigningKeyError(ValueError):
    """A key cannot be read or used. Key material is never in the message."""


@dataclass(frozen=True)
class NewKey:
    """A fresh key pair as text; `private` is to be kept secret, `public` to be handed over."""

    private: str
    public: str


def new_key(name: str, *, demo: bool = False) -> NewKey:
    """Make an Ed25519 key pair.

    Args:
        name: the key's name and the log's origin, a schema-less URL such as `custody.example.com/eu`.
        demo: mark the name, so that every checkpoint, cut and proof shows that the key proves nothing.
    """
    if demo and not name.startswith(DEMO_PREFIX):
        name = DEMO_PREFIX + name
    seed = Ed25519PrivateKey.generate().private_bytes_raw()
    signer = Ed25519Signer(name, seed)
    material = base64.b64encode(bytes([ED25519]) + seed).decode()
    return NewKey(f"{_PRIVATE}{name}+{signer.verifier.key_id.hex()}+{material}", signer.verifier.vkey)


class Ed25519Signer:
    """Signs with a private key in memory. `verifier`: the public half."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(check_name(name), ED25519, self._key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.verifier.vkey})"

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message)


def load_signer(private: str) -> Ed25519Signer:
    """A signer from the text that `new_key` made.

    Raises:
        SigningKeyError: the text is not such a key, or was damaged.
    """
    text = private.strip()
    parts = text.removeprefix(_PRIVATE).split("+", 2)
    if not text.startswith(_PRIVATE) or len(parts) != 3:
        raise SigningKeyError(f"a signing key begins with {_PRIVATE} and has a name, an id and the key")
    try:
        material = base64.b64decode(parts[2], validate=True)
        signer = Ed25519Signer(parts[0], material[1:])
    except ValueError:
        raise SigningKeyError("the signing key is damaged") from None
    if material[0] != ED25519 or signer.verifier.key_id.hex() != parts[1]:
        raise SigningKeyError("the signing key is damaged: its id is not that of its key")
    return signer


def signer_from_file(path: Path) -> Ed25519Signer:
    """A signer from a file that only its owner may read.

    Raises:
        SigningKeyError: no such file, other users may read it, or it holds no key.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SigningKeyError(f"the signing key cannot be read: {why_unreadable(error)}") from None
    if os.name == "posix" and mode & 0o077:
        raise SigningKeyError(f"{path}: other users may read it; chmod 600 {path}")
    return load_signer(text)


def write_new_key(path: Path, key: NewKey) -> Path:
    """Write the private key to `path` and the public one beside it (`.pub`), for their owner alone; never over a file.

    A folder that is not there yet is made for its owner alone.

    Returns:
        The path of the public key.
    """
    public = path.with_name(path.name + ".pub")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if public.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(public))
    for target, text in ((path, key.private), (public, key.public)):
        _write_new(target, f"{text}\n")
    return public


def _write_new(target: Path, text: str) -> None:
    """Write a file that is whole once it has its name: a key that was cut off would be no key, and stay."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        target.hardlink_to(draft)
    finally:
        Path(draft).unlink()


def parse_public_keys(text: str) -> list[Verifier]:
    """Verifier keys, one a line; empty lines and lines that begin with `#` are skipped.

    Raises:
        NoteError: a line is no verifier key.
    """
    lines = [line.strip() for line in text.splitlines()]
    if any(line.startswith(_PRIVATE) for line in lines):
        raise NoteError("this is the private key, which its owner keeps secret: name the file with the public key")
    return [Verifier.parse(line) for line in lines if line and not line.startswith("#")]


def rotation(origin: str, old: Sequence[Signer], new: Sequence[Signer]) -> Note:
    """A statement, signed by the old and the new keys, that the new ones take over.

    It belongs in the cut of the first night that both sign (`rotation.note`), and so in the log. After the overlap the
    old keys stop signing; a verifier who trusts an old key and reads the statement knows the new one.
    """
    lines = [_ROTATION, origin]
    lines += [f"old {signer.verifier.vkey} sha256:{signer.verifier.fingerprint}" for signer in old]
    lines += [f"new {signer.verifier.vkey} sha256:{signer.verifier.fingerprint}" for signer in new]
    return sign(("\n".join(lines) + "\n").encode(), [*old, *new])


def rotated_keys(data: bytes, origin: str, trusted: Sequence[Verifier]) -> tuple[list[Verifier], list[Verifier]]:
    """The old and the new keys of a rotation statement that a trusted key signed.

    Args:
        origin: the log that the statement must be about.
        trusted: keys that are trusted already; one of them must be among the old keys.

    Raises:
        NoteError: malformed, about another log, or not signed by every old and new key it names.
    """
    note, old, _ = _read_rotation(data, origin)
    known = [key for key in old if key in trusted]
    if not known:
        raise NoteError("none of the old keys of the rotation is trusted")
    # A folder may hold any number of statements, so check the trusted signature first: nobody else can make it.
    note.verified_by(known)
    return keys_of_rotation(data, origin)


def keys_of_rotation(data: bytes, origin: str) -> tuple[list[Verifier], list[Verifier]]:
    """The old and the new keys of a rotation statement, all of which signed it.

    Raises:
        NoteError: malformed, about another log, or not signed by every key it names.
    """
    note, old, new = _read_rotation(data, origin)
    if {key.vkey for key in note.verified_by([*old, *new])} != {key.vkey for key in (*old, *new)}:
        raise NoteError("the key rotation is not signed by every key it names")
    return old, new


def _read_rotation(data: bytes, origin: str) -> tuple[Note, list[Verifier], list[Verifier]]:
    note = parse(data)
    lines = note.text.decode()[:-1].split("\n")
    if lines[:2] != [_ROTATION, origin]:
        raise NoteError(f"not a key rotation of {origin}")
    named: dict[str, list[Verifier]] = {"old": [], "new": []}
    for line in lines[2:]:
        role, _, rest = line.partition(" ")
        verifier = Verifier.parse(rest.partition(" ")[0])
        if role not in named or rest != f"{verifier.vkey} sha256:{verifier.fingerprint}":
            raise NoteError("a line of the key rotation is malformed")
        if verifier.name != origin:
            raise NoteError(f"the key {verifier.name} does not sign for {origin}: a log keeps its name")
        named[role].append(verifier)
    return note, named["old"], named["new"]
