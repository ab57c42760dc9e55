"""`python -m custody_pipeline_tests.evidence.fuzz_parsers`: bytes that reach new lines of the parsers, for a time.

libFuzzer (through atheris) follows which lines an input reaches, and changes what reached new ones. An exception other
than the parser's own kind, or a document that is not read back to the byte, ends it with the input in a file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["custody_pipeline.evidence"]):
    from custody_pipeline_tests.evidence.test_package_contents import publish_with_audio
    from custody_pipeline_tests.evidence.test_parsers import PARSERS, valid_documents

KINDS = sorted(PARSERS)
LARGEST = 8192


def one_input(data: bytes) -> None:
    """The first byte names the parser, the others are its document."""
    if not data:
        return
    read, refusal = PARSERS[KINDS[data[0] % len(KINDS)]]
    try:
        again = read(data[1:])
    except refusal:
        return
    assert again == data[1:] or not isinstance(again, bytes)


def main() -> None:
    """Fuzz for `--seconds`, from one valid document of each kind; libFuzzer ends the process itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="how long to run")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    chosen = parser.parse_args()
    corpus = Path(tempfile.mkdtemp(prefix="custody-corpus-"))
    for kind, document in valid_documents(publish_with_audio(corpus / "set")).items():
        (corpus / kind.replace("/", "-")).write_bytes(bytes([KINDS.index(kind)]) + document)
    limits = [f"-max_total_time={chosen.seconds}", f"-seed={chosen.seed}", f"-max_len={LARGEST}", "-timeout=10"]
    atheris.Setup([sys.argv[0], *limits, "-rss_limit_mb=2048", str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
