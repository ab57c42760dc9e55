"""A timestamp authority for tests: `openssl ts` with a key and a certificate made for the occasion."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from custody_pipeline.evidence.timestamp import timestamp_request

_CONFIG = """
[req]
distinguished_name = name
prompt = no
x509_extensions = tsa
[name]
CN = Test Timestamp Authority
[tsa]
basicConstraints = critical,CA:TRUE
keyUsage = critical,digitalSignature,keyCertSign
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
[tsa_policy]
serial = {folder}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def make_authority(folder: Path) -> tuple[Callable[[bytes], bytes], bytes]:
    """An authority whose files lie in `folder`: (data → response, root certificate in PEM)."""
    config, key, certificate = folder / "tsa.cnf", folder / "tsa.key", folder / "tsa.pem"
    config.write_text(_CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    _openssl(*new, "-config", config, "-keyout", key, "-out", certificate)

    def stamp(data: bytes) -> bytes:
        query, reply = folder / "query.tsq", folder / "reply.tsr"
        query.write_bytes(timestamp_request(data))
        sign = ["ts", "-reply", "-config", config, "-section", "tsa_policy", "-queryfile", query]
        _openssl(*sign, "-signer", certificate, "-inkey", key, "-out", reply)
        return reply.read_bytes()

    return stamp, certificate.read_bytes()


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
