"""AWS without S3 for the tests: ministack (SQS, EventBridge, KMS, …) in a process of its own, on 127.0.0.1."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY_WITHIN_SECONDS = 30


@contextmanager
def running_ministack(folder: Path) -> Iterator[str]:
    """The address of a ministack that listens on a socket of this process, and ends with the block."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, (folder / "log").open("w") as log:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = subprocess.Popen(
            [sys.executable, "-m", "hypercorn", "ministack.app:app", "--bind", f"fd://{listener.fileno()}"],
            pass_fds=[listener.fileno()],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "GATEWAY_PORT": address.rpartition(":")[2],
                "MINISTACK_HOST": "127.0.0.1",
                "LOG_LEVEL": "WARNING",
            },
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        try:
            _wait_until_it_answers(address)
            yield address
        finally:
            server.terminate()
            server.wait(20)


def _wait_until_it_answers(address: str) -> None:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    config = Config(retries={"total_max_attempts": 5}, connect_timeout=2, read_timeout=10)
    with closing(session.client("sqs", endpoint_url=address, config=config)) as sqs:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while time.monotonic() < deadline:
            with suppress(BotoCoreError, ClientError):
                sqs.list_queues()
                return
