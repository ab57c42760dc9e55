"""What a person is told of a server's certificate that is refused, by a real TLS server."""

from __future__ import annotations

import ipaddress
import re
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import BotoCoreError
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from custody_pipeline.alerts.alert import DeliveryError
from custody_pipeline.alerts.delivery import Http, Patience
from custody_pipeline.extract.genesys import GenesysClient
from custody_pipeline.extract.genesys_errors import NoAnswer
from custody_pipeline.io.s3 import s3_client
from custody_pipeline.operations.endings import ending_of
from custody_pipeline.publish.sealing import TimestampUnavailableError, timestamper
from custody_pipeline.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def written(folder: Path, name: str, days: int) -> Path:
    """A certificate that signs itself, with its key, for a server of this name or address."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    other = x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdecimal() else x509.DNSName(name)
    made = (
        x509.CertificateBuilder(named, named, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([other]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path = folder / f"{name}{days}.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + made.public_bytes(Encoding.PEM))
    return path


@contextmanager
def serving(certificate: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("name", "days", "trusted", "says"),
    [
        ("127.0.0.1", -1, True, "certificate has expired"),
        ("other.example", 9, True, "not valid for '127.0.0.1'|'127.0.0.1' doesn't match"),
        ("127.0.0.1", 9, False, "self-signed certificate"),
    ],
)
def test_why_a_certificate_is_refused_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, days: int, trusted: bool, says: str
) -> None:
    monkeypatch.setattr("custody_pipeline.extract.genesys.MAX_ATTEMPTS", 1)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    served = written(tmp_path, name, days)
    believed = served if trusted else written(tmp_path, "ca.example", 9)
    for variable in ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(believed))
    with serving(served) as url:
        settings = Settings(genesys_domain=url, genesys_client_id="i", genesys_client_secret="s")
        with pytest.raises(NoAnswer, match=says):
            GenesysClient(settings).get("/api/v2/x")
        with pytest.raises(DeliveryError, match=says):
            Http("webhook", Patience(max_attempts=1)).request("POST", f"{url}/secret", data=b"x")
        with pytest.raises(TimestampUnavailableError, match=says):
            timestamper(url)(b"x")
        client = s3_client(Settings(s3_endpoint_url=url, s3_region="us-east-1"))
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        with pytest.raises(BotoCoreError) as refused:
            client.list_buckets()
        assert re.search(says, ending_of(refused.value)[0])
