"""Documents read back from landing files by row."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import orjson

from custody_pipeline.extract.landing_files import content_of
from custody_pipeline.io.s3 import S3Location


def read_document(uri: str, s3: Any = None) -> bytes:
    """The bytes as received of the document at `{landing file}#L{row}`, checked against the row's SHA-256."""
    name, _, number = uri.rpartition("#L")
    if name.startswith("s3://"):
        location = S3Location.parse(name)
        file = gzip.decompress(s3.get_object(Bucket=location.bucket, Key=location.key)["Body"].read())
    else:
        file = gzip.decompress(Path(name).read_bytes())
    line = file.splitlines(keepends=True)[int(number) - 1]
    content = content_of(line)
    assert hashlib.sha256(content).hexdigest() == orjson.loads(line)["sha256"]
    return content
