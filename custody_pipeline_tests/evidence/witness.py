"""A witness of one log, reading requests by itself as https://c2sp.org/tlog-witness describes them."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custody_pipeline.evidence.log.merkle import verify_consistency
from custody_pipeline.evidence.log.note import COSIGNATURE_V1, Verifier
from custody_pipeline_tests.evidence.published import SIGNER

TIME = 1_793_836_800
Answer = tuple[int, bytes]


class Witness:
    """A witness of one log. It reads requests by itself, as the specification describes them.

    Args:
        name: the key's.
        seed: makes its key.
    """

    def __init__(self, name: str = "witness.example/w1", seed: int = 9) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.verifier = Verifier(name, COSIGNATURE_V1, self._key.public_key().public_bytes_raw())
        self.size, self.root = 0, sha256(b"").digest()
        self.asked: list[int] = []
        self.answer: Callable[[bytes], Answer] = self.cosign

    def cosign(self, body: bytes) -> Answer:
        head, _, checkpoint = body.partition(b"\n\n")
        old_line, *proof = head.decode().split("\n")
        old = int(old_line.removeprefix("old "))
        self.asked.append(old)
        text, _, signatures = checkpoint.partition(b"\n\n")
        text += b"\n"
        _, size, root = text.decode().split("\n")[:3]
        mine = f"— {SIGNER.verifier.name} ".encode()
        line = next(line for line in signatures.split(b"\n") if line.startswith(mine))
        SIGNER.verifier.check(text, b64decode(line.removeprefix(mine))[4:])
        if old != self.size:
            return 409, f"{self.size}\n".encode()
        if old == int(size) and b64decode(root) != self.root:
            return 409, b""
        if old:
            verify_consistency(old, int(size), [b64decode(item) for item in proof], self.root, b64decode(root))
        self.size, self.root = int(size), b64decode(root)
        return 200, self.line(text, int(time.time()))

    def line(self, text: bytes, seconds: int = TIME) -> bytes:
        """The signature line over a checkpoint's text."""
        signature = self._key.sign(b"cosignature/v1\ntime %d\n" % seconds + text)
        blob = self.verifier.key_id + seconds.to_bytes(8, "big") + signature
        return f"— {self.verifier.name} {b64encode(blob).decode()}\n".encode()
