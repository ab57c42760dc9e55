"""Several homes that publish to one prefix at once: one log, every night sealed once, nothing overwritten."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from custody_pipeline.evidence.cut.manifest import Lock, decode_cut
from custody_pipeline.evidence.log.checkpoint import Checkpoint, cosigned_by, read_checkpoint
from custody_pipeline.evidence.log.cosignatures import WitnessContradictsError, add_cosignatures
from custody_pipeline.evidence.log.keys import new_key, write_new_key
from custody_pipeline.evidence.log.merkle import EMPTY_ROOT
from custody_pipeline.evidence.reader import CLAIM_BYTES, TargetError, read
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.io.objects import UploadError
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.operations.verification import public_keys
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.claims import SealingError
from custody_pipeline.publish.publication import publish_night
from custody_pipeline.publish.sealed_writes import SealedWrites
from custody_pipeline.publish.sealing import Sealing
from custody_pipeline_tests.evidence.authority import make_authority
from custody_pipeline_tests.evidence.memory_reader import MemoryReader
from custody_pipeline_tests.evidence.witness import Witness
from custody_pipeline_tests.forked import forked
from custody_pipeline_tests.publish.homes import BUCKET, Home, write_keys
from custody_pipeline_tests.publish.killing import Killed, Replaced
from custody_pipeline_tests.publish.memory import objects as in_memory
from custody_pipeline_tests.publish.memory import s3_in_memory
from custody_pipeline_tests.publish.nights import NIGHT, TWO_TABLES, change_recording
from custody_pipeline_tests.publish.rounds import HOMES, run

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from custody_pipeline.simulator.local_s3 import S3Endpoint

# A kill at each of some fifty writes takes minutes: set the variable to 1 for all of them.
KILL_STEP = int(os.environ.get("TEST_KILL_STEP", "11"))
WRITING = ("put_", "copy_", "delete_", "create_", "upload_", "complete_")
Homes = Callable[..., Home]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keys that all homes share."""
    return write_keys(tmp_path_factory.mktemp("shared") / "keys")


@pytest.fixture
def homes(tmp_path: Path, keys: Path, recordings: Path) -> Homes:
    """Makes homes; a home's night is so many days after the first one."""

    def make(name: str, days: int = 0, bucket: str = BUCKET) -> Home:
        return Home(tmp_path / name, keys, recordings, bucket, night=NIGHT + timedelta(days=days))

    return make


def claimed(folder: Path, keys: Path, recordings: Path, *, days: int) -> dict[str, bytes]:
    """What S3 holds after the claim of a home that is gone. Other homes have sealed the nights before."""
    with s3_in_memory() as client:
        for day in range(days):
            Home(folder / f"home-{day}", keys, recordings, night=NIGHT + timedelta(days=day)).publish(client)
        gone = Home(folder / "gone", keys, recordings, night=NIGHT + timedelta(days=days))
        with pytest.raises(Killed):
            gone.publish(dies_after(client, b'"pending":{'))
        found = in_memory()
    assert b'"pending":{' in found["sealing/head"]
    return found


@pytest.fixture(scope="module")
def first_claimed(tmp_path_factory: pytest.TempPathFactory, keys: Path, recordings: Path) -> dict[str, bytes]:
    return claimed(tmp_path_factory.mktemp("first"), keys, recordings, days=0)


@pytest.fixture(scope="module")
def second_claimed(tmp_path_factory: pytest.TempPathFactory, keys: Path, recordings: Path) -> dict[str, bytes]:
    return claimed(tmp_path_factory.mktemp("second"), keys, recordings, days=1)


def put_all(client: S3Client, found: dict[str, bytes]) -> None:
    for path, data in found.items():
        client.put_object(Bucket=BUCKET, Key=f"prod/{path}", Body=data)


@pytest.fixture
def pending(memory_s3: S3Client, first_claimed: dict[str, bytes]) -> None:
    """The claim of a home that is gone."""
    put_all(memory_s3, first_claimed)


def objects(client: S3Client, bucket: str) -> dict[str, bytes]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="prod/")
    names = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {name.removeprefix("prod/"): client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}


def errors(found: dict[str, bytes], home: Home) -> list[str]:
    report = verify(MemoryReader(found), Options(public_keys=public_keys(home.settings, [])))
    return [f"{f.code} {f.path}" for f in report.findings if f.kind.severity is not Severity.NOTE]


@pytest.mark.server
def test_processes_that_seal_at_once_make_one_log(server: S3Endpoint, recordings: Path, tmp_path: Path) -> None:
    """Two rounds; `make rounds` runs a hundred."""
    assert [faults for _, faults in run(2, 3, tmp_path, recordings, server)] == [[], []]


@pytest.mark.server
def test_one_night_with_other_content_in_each_home_has_a_revision_of_each(
    server: S3Endpoint, s3: S3Client, bucket: str, homes: Homes
) -> None:
    publishing = [homes(f"home-{n}", bucket=bucket) for n in range(HOMES)]
    for number, home in enumerate(publishing):
        with home.open() as con:
            change_recording(con, 1, f"as home {number} saw it")
    with ThreadPoolExecutor(HOMES) as pool:
        revisions = list(pool.map(lambda home: home.publish(server.client()), publishing))
    assert sorted(revisions) == [1, 2, 3, 4]
    assert errors(objects(s3, bucket), publishing[0]) == []


def test_a_home_whose_night_is_unchanged_leaves_the_copies_of_a_later_revision(
    memory_s3: S3Client, homes: Homes
) -> None:
    first, other = homes("first"), homes("other")
    assert first.publish(memory_s3) == 1
    with other.open() as con:
        change_recording(con, 1, "as the other home saw it")
    assert other.publish(memory_s3) == 2
    superseded = decode_cut(in_memory()[f"cuts/date={NIGHT}/r0002/cut.json"]).supersedes
    assert superseded is not None
    assert superseded.changed == 3  # this home had published none of its rows
    before = in_memory()
    assert first.publish(memory_s3) == 1
    assert in_memory() == before
    assert errors(before, other) == []


@pytest.mark.parametrize("before", ["prod/cuts/", "prod/parquet/"], ids=["unsealed", "sealed"])
def test_rows_of_a_run_that_was_killed_after_it_took_over_a_revision_are_of_the_next_one(
    memory_s3: S3Client, homes: Homes, before: str
) -> None:
    first, other = homes("first"), homes("other")
    assert first.publish(memory_s3) == 1
    with other.open() as con:
        change_recording(con, 1, "as the other home saw it")

    def die(copy: Any, **request: Any) -> Any:
        if request["Key"].startswith(before):
            raise Killed
        return copy(**request)

    with pytest.raises(Killed):
        other.publish(Replaced(memory_s3, copy_object=die))
    assert other.publish(memory_s3) == 2  # only this step is tried again
    with other.open() as con:
        assert con.execute("SELECT DISTINCT revision FROM custody.chain_of_custody").fetchall() == [(2,)]
        versions = con.execute("SELECT recording_id, revision FROM raw.row_versions").fetchall()
        rechecks = con.execute("SELECT what, length(sha256_after) FROM raw.acts WHERE action = 'rechecked'").fetchall()
    assert [revision for _, revision in versions] == [2] * 3
    assert rechecks == [("revision 2: 3 rows new or changed", 64)]
    found = in_memory()
    rows = pq.read_table(BytesIO(found[f"parquet/chain_of_custody/date={NIGHT}/chain_of_custody.parquet"]))
    assert set(rows.column("revision").to_pylist()) == {2}
    superseded = decode_cut(found[f"cuts/date={NIGHT}/r0002/cut.json"]).supersedes
    assert superseded is not None
    assert superseded.changed == 3
    assert other.publish(memory_s3) == 2
    assert errors(in_memory(), other) == []


def publish_until(folder: Path, endpoint: S3Endpoint, bucket: str, night: date, number: int, done: bool) -> None:
    """Publish in a process that is killed at its `number`-th writing call, before or after S3 has carried it out."""

    class Client:
        calls = itertools.count()

        def __getattr__(self, name: str) -> Any:
            method = getattr(client, name)

            def call(*args: Any, **kwargs: Any) -> Any:
                if not name.startswith(WRITING) or next(self.calls) != number:
                    return method(*args, **kwargs)
                if done:
                    method(*args, **kwargs)
                os.kill(os.getpid(), signal.SIGKILL)
                return None

            return call if callable(method) else method

    client = endpoint.client()
    Home.at(folder, bucket).publish(Client(), night)


@pytest.mark.server
def test_killed_at_any_write_another_home_finishes_without_the_first(
    server: S3Endpoint, s3: S3Client, bucket: str, homes: Homes
) -> None:
    number, days = 0, 0
    while True:
        first, other = homes(f"first-{number}", days, bucket), homes(f"other-{number}", days + 1, bucket)
        how = (first.folder, server, bucket, first.night, number, bool(number % 2))
        process = forked(publish_until, *how)
        process.join()
        assert process.exitcode in {0, -signal.SIGKILL}
        shutil.rmtree(first.folder)
        assert other.publish(server.client()) == 1
        found = objects(s3, bucket)
        cuts = [decode_cut(data) for path, data in found.items() if path.endswith("/cut.json")]
        places = sorted((cut.log.first, cut.log.first + cut.log.records + 1) for cut in cuts)
        assert [end for _, end in places[:-1]] == [start for start, _ in places[1:]], f"killed at write {number}"
        assert int(found["log/checkpoint"].split(b"\n")[1]) == places[-1][1], f"killed at write {number}"
        if process.exitcode == 0:
            break
        number, days = number + KILL_STEP, days + 2
    assert number > 20
    # Copies of a night whose home is gone stay missing until the night is run again; nothing else is found.
    assert {line.split()[0] for line in errors(objects(s3, bucket), other)} <= {"COPY_MISSING"}


def dies_after(client: S3Client, this: bytes) -> Any:
    """A client whose process dies as soon as its claim in S3 says `this`."""

    def put(method: Any, **request: Any) -> Any:
        answer = method(**request)
        if request["Key"].endswith("sealing/head") and this in request["Body"]:
            raise Killed
        return answer

    return Replaced(client, put_object=put)


@pytest.mark.usefixtures("pending")
def test_a_rotation_meets_a_pending_claim(memory_s3: S3Client, homes: Homes) -> None:
    rotated = homes("rotated", days=1)
    following = rotated.folder / "keys" / "next.key"
    write_new_key(following, new_key("custody.local", demo=True))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CUSTODY_NEXT_SIGNING_KEY_FILE", str(following))
        rotated = Home.at(rotated.folder, BUCKET)
        assert rotated.publish(memory_s3, NIGHT + timedelta(days=1)) == 1
    cuts = [decode_cut(data) for path, data in in_memory().items() if path.endswith("/cut.json")]
    assert sorted(len(cut.keys) for cut in cuts) == [1, 2]


def test_a_timestamp_authority_that_is_gone_leaves_a_claim_that_is_finished_later(
    memory_s3: S3Client, homes: Homes
) -> None:
    first = homes("first")
    with socket.socket() as closed, pytest.MonkeyPatch.context() as environment:
        closed.bind(("127.0.0.1", 0))
        environment.setenv("CUSTODY_TIMESTAMP_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        first = Home.at(first.folder, BUCKET)
        with pytest.raises(Exception, match="timestamp authority"):
            first.publish(memory_s3)
    assert b'"pending":{' in in_memory()["sealing/head"]
    assert not [path for path in in_memory() if path.endswith((".sig", "/checkpoint"))]
    other = homes("other", days=1)
    assert other.publish(memory_s3) == 1
    assert {line.split()[0] for line in errors(in_memory(), other)} <= {"COPY_MISSING"}


def test_a_file_of_a_run_without_claims_is_replaced_before_the_night_is_sealed(
    memory_s3: S3Client, homes: Homes
) -> None:
    home = homes("home")
    left = f"prod/cuts/date={NIGHT}/r0001/data/chain_of_custody.parquet"
    memory_s3.put_object(Bucket=BUCKET, Key=left, Body=b"of a run that was killed")
    assert home.publish(memory_s3) == 1
    assert errors(in_memory(), home) == []


def test_a_slow_home_signs_nothing_that_another_has_finished(memory_s3: S3Client, homes: Homes) -> None:
    """Another home finishes the claim and seals its own night before that."""
    slow, other = homes("slow"), homes("other", days=1)
    act = Mock(side_effect=lambda: other.publish(memory_s3))
    assert slow.publish(acting_before_agreement(memory_s3, act)) == 1
    assert act.called
    assert errors(in_memory(), slow) == []


def test_what_another_home_agreed_on_before_it_was_killed_is_used(memory_s3: S3Client, homes: Homes) -> None:
    slow, other = homes("slow"), homes("other")

    def agree_and_die() -> None:
        with pytest.raises(Killed):
            other.publish(dies_after(memory_s3, b'"agreed":{'))

    act = Mock(side_effect=agree_and_die)
    assert slow.publish(acting_before_agreement(memory_s3, act)) == 1
    assert act.called
    assert errors(in_memory(), slow) == []


def test_a_claim_that_waited_for_days_is_sealed_as_of_the_day_that_ends_it(
    memory_s3: S3Client, homes: Homes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp, root = make_authority(tmp_path)
    monkeypatch.setattr("custody_pipeline.publish.sealing.timestamper", Mock(return_value=stamp))
    first, second, now = homes("first"), homes("second"), datetime.now(UTC)

    def publish(home: Home, client: Any, at: datetime) -> None:
        settings = home.settings.model_copy(update={"timestamp_url": "https://tsa.example"})
        with home.open() as con:
            publish_night(con, settings, NIGHT, tables=TWO_TABLES, client=client, now=at)

    with pytest.raises(Killed):
        publish(first, dies_after(memory_s3, b'"pending":{'), now - timedelta(days=3))
    publish(second, memory_s3, now)
    options = Options(public_keys=public_keys(second.settings, []), timestamp_roots=[root])
    report = verify(MemoryReader(in_memory()), options)
    assert (report.status, report.valid["cuts"]) == (0, 1), report.summary()


@pytest.mark.server
@pytest.mark.parametrize(("said", "days"), [(b'"pending":{', 3), (b'"agreed":{', 0)])
def test_a_claim_whose_lock_would_be_over_is_finished(
    s3: S3Client, bucket: str, homes: Homes, monkeypatch: pytest.MonkeyPatch, said: bytes, days: int
) -> None:
    """S3 refuses a lock until a time that has passed. The lock lasts as long from the day that ends the claim.

    After the agreement every file is locked as `cut.json` says, and that lock may end.
    """
    first, second, now = homes("first", 0, bucket), homes("second", 0, bucket), datetime.now(UTC)
    monkeypatch.setattr(Sealing, "retain_until", lambda *_: now + timedelta(seconds=5))

    def publish(home: Home, client: Any, at: datetime) -> None:
        settings = home.settings.model_copy(update={"lock_mode": "COMPLIANCE"})
        with home.open() as con:
            publish_night(con, settings, NIGHT, tables=TWO_TABLES, client=client, now=at)

    with pytest.raises(Killed):
        publish(first, dies_after(s3, said), now - timedelta(days=days))
    time.sleep(max(0.0, (now - datetime.now(UTC)).total_seconds() + 5.1))
    publish(second, s3, now)
    reader = S3Reader(s3, S3Location(bucket, "prod"))
    report = verify(reader, Options(public_keys=public_keys(second.settings, [])))
    assert (report.status, report.valid["cuts"], report.valid["locks"]) == (0, 1, report.total["locks"])
    until = f"{now + timedelta(days=days, seconds=5):%Y-%m-%dT%H:%M:%SZ}"
    assert decode_cut(read(reader, f"cuts/date={NIGHT}/r0001/cut.json")).lock == Lock("COMPLIANCE", until, False)


def acting_before_agreement(client: S3Client, act: Mock) -> Any:
    """A client that calls `act` once, just before its home agrees on its cut.json."""

    def put(method: Any, **request: Any) -> Any:
        if request["Key"].endswith("sealing/head") and b'"agreed":{' in request["Body"] and not act.called:
            act()
        return method(**request)

    return Replaced(client, put_object=put)


@pytest.mark.usefixtures("pending")
def test_a_claim_that_only_other_keys_can_finish_is_named(
    memory_s3: S3Client, tmp_path: Path, recordings: Path
) -> None:
    stranger = Home(tmp_path / "stranger", write_keys(tmp_path / "others"), recordings)
    with pytest.raises(SealingError, match=r"keys that this home does not have: DEMO-custody\.local\+"):
        stranger.publish(memory_s3)


FORGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "another night": lambda claim: claim["pending"]["draft"].update(night="2026-11-01"),
    "another operator": lambda claim: claim["pending"]["draft"].update(operator="somebody"),
    "a file more": lambda claim: claim["pending"]["content_types"].update({"data/x.csv": "text/csv"}),
    "no signature": lambda claim: claim["pending"].update(signature=""),
    "no keys": lambda claim: claim["pending"].update(keys=[]),
    "another place in the log": lambda claim: claim.update(size=0, root=EMPTY_ROOT.hex()),
    "an agreement of somebody's own": lambda claim: claim.update(
        agreed={"cut": base64.b64encode(b"{}").decode(), "timestamp": None, "signature": ""}
    ),
    "an agreement with the bundle's signature": lambda claim: claim.update(
        agreed={
            "cut": base64.b64encode(b"{}").decode(),
            "timestamp": None,
            "signature": claim["pending"]["signature"],
        }
    ),
    "no claim at all": lambda claim: claim.update(size="many"),
    "a root that is none": lambda claim: claim.update(root="xx", pending=None),
    "a member more": lambda claim: claim.update(note="x" * CLAIM_BYTES),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_who_can_only_write_to_the_bucket_has_nothing_sealed(
    memory_s3: S3Client, homes: Homes, second_claimed: dict[str, bytes], change: Callable[[dict[str, Any]], object]
) -> None:
    """Not even by changing the claim of a home with the keys. A home without a remembered head notices it."""
    put_all(memory_s3, second_claimed)
    claim = json.loads(in_memory()["sealing/head"])
    before = json.dumps(claim)
    change(claim)
    assert json.dumps(claim) != before
    memory_s3.put_object(Bucket=BUCKET, Key="prod/sealing/head", Body=json.dumps(claim).encode())
    fresh = homes("fresh", days=2)
    signed = {path: data for path, data in in_memory().items() if path.startswith(("log/", "cuts/"))}

    with pytest.raises(SealingError, match=r"sealing/head: .*remove the object"):
        fresh.publish(memory_s3)

    found = in_memory()
    assert not [path for path in found.keys() - signed.keys() if path.endswith((".sig", "/checkpoint", "cut.json"))]
    assert all(found[path] == data for path, data in signed.items())


@pytest.mark.parametrize("revision", [1, 2])
def test_a_cut_that_nobody_sealed_takes_no_night_and_is_named(
    memory_s3: S3Client, homes: Homes, tmp_path: Path, recordings: Path, revision: int
) -> None:
    """A cut of somebody who can only write to the bucket counts as no home's, before or after the real one."""
    other = Home(tmp_path / "other", write_keys(tmp_path / "others"), recordings)
    other.publish(memory_s3)
    planted = {path: data for path, data in in_memory().items() if path.startswith("cuts/")}
    for path in in_memory():
        memory_s3.delete_object(Bucket=BUCKET, Key=f"prod/{path}")
    for path, data in planted.items():
        memory_s3.put_object(Bucket=BUCKET, Key=f"prod/{path.replace('r0001', f'r{revision:04d}')}", Body=data)
    home = homes("home")

    with pytest.raises(Exception, match=r"no key of this log sealed it|not signed by|none of the given"):
        home.publish(memory_s3)

    found = in_memory()
    assert "log/checkpoint" not in found or revision == 2
    assert not [path for path in found if path.startswith(("parquet/", "current/"))] or revision == 2


def test_a_claim_that_was_carried_out_cannot_be_played_again(memory_s3: S3Client, homes: Homes) -> None:
    with pytest.raises(Killed):
        homes("first").publish(dies_after(memory_s3, b'"pending":{'))
    old = json.loads(in_memory()["sealing/head"])
    homes("second", days=1).publish(memory_s3)
    now = json.loads(in_memory()["sealing/head"])
    memory_s3.put_object(
        Bucket=BUCKET, Key="prod/sealing/head", Body=json.dumps(now | {"pending": old["pending"]}).encode()
    )

    with pytest.raises(SealingError, match="signed for something else"):
        homes("third", days=2).publish(memory_s3)


@pytest.mark.usefixtures("pending")
def test_staged_records_that_were_exchanged_are_not_sealed(memory_s3: S3Client, homes: Homes) -> None:
    """The copy in the cut was compared, but the leaves are made from a second read."""
    claim = json.loads(in_memory()["sealing/head"])
    staged = f"sealing/{claim['pending']['id']}/data/records.ndjson"
    cut = f"prod/cuts/date={NIGHT}/r0001/data/records.ndjson"
    true = in_memory()[staged]
    memory_s3.put_object(Bucket=BUCKET, Key=cut, Body=true)
    memory_s3.put_object(Bucket=BUCKET, Key=f"prod/{staged}", Body=true.replace(b"r", b"s"))
    with pytest.raises(SealingError, match="is not what was claimed"):
        homes("home", days=1).publish(memory_s3)


class Endless:
    """The body of an object that somebody made too large for any memory."""

    def read(self, size: int | None = None) -> bytes:
        assert size is not None, "it is read without a limit"
        return b"x" * size

    def close(self) -> None: ...


def endless(client: S3Client, *names: str) -> Any:
    def get(method: Any, **request: Any) -> Any:
        answer = method(**request)
        if request["Key"].endswith(names):
            answer |= {"ContentLength": 1 << 40, "Body": Endless()}
        return answer

    return Replaced(client, get_object=get)


@pytest.mark.usefixtures("pending")
def test_staged_records_without_an_end_are_not_sealed(memory_s3: S3Client, homes: Homes) -> None:
    with pytest.raises(SealingError, match="is not what was claimed"):
        homes("home", days=1).publish(endless(memory_s3, "records.ndjson"))


def test_notes_without_an_end_are_refused(memory_s3: S3Client, homes: Homes) -> None:
    first, other = homes("first"), homes("other")
    assert first.publish(memory_s3) == 1
    for name in ("log/checkpoint", "cut.json", "cut.json.sig"):
        with pytest.raises(TargetError, match="has more than"):
            other.publish(endless(memory_s3, name))


def test_a_claim_on_a_head_that_is_gone_is_made_again(memory_s3: S3Client, homes: Homes) -> None:
    """AWS answers 404, not 412, to a write under If-Match where nothing is."""
    refused = []

    def put(method: Any, **request: Any) -> Any:
        if "IfMatch" in request and request["Key"] not in refused:
            refused.append(request["Key"])
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "PutObject")
        return method(**request)

    home = homes("home")
    assert home.publish(Replaced(memory_s3, put_object=put)) == 1
    assert "prod/sealing/head" in refused
    assert errors(in_memory(), home) == []


def test_a_claim_whose_answer_was_lost_is_carried_out(memory_s3: S3Client, homes: Homes) -> None:
    """The claim reaches S3, its answer is lost, and botocore's retry is refused."""
    lost = 0

    def put(method: Any, **request: Any) -> Any:
        nonlocal lost
        answer = method(**request)
        if request["Key"].endswith("sealing/head") and "IfMatch" in request and not lost:
            lost += 1
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "PutObject")
        return answer

    home = homes("home")
    assert home.publish(Replaced(memory_s3, put_object=put)) == 1
    assert lost
    assert errors(in_memory(), home) == []


def test_a_seal_between_two_reads_is_no_rolled_back_bucket(memory_s3: S3Client, homes: Homes) -> None:
    """Another home seals a whole night between our reads of sealing/head and log/checkpoint."""
    first, other, ours = homes("first"), homes("other", days=1), homes("ours", days=2)
    first.publish(memory_s3)
    seal = Mock(side_effect=lambda: other.publish(memory_s3))

    def get(method: Any, **request: Any) -> Any:
        answer = method(**request)
        if request["Key"].endswith("sealing/head") and not seal.called:
            seal()
        return answer

    assert ours.publish(Replaced(memory_s3, get_object=get)) == 1
    assert errors(in_memory(), first) == []


class Counted:
    """Which requests reach S3."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.requests: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "get_paginator":
                return PagesCounted(method(*args), self.requests)
            self.requests.append((name, kwargs.get("Key", "").removeprefix("prod/")))
            return method(*args, **kwargs)

        return call


class PagesCounted:
    """As `Counted`, for a listing of one page."""

    def __init__(self, pages: Any, requests: list[tuple[str, str]]) -> None:
        self._pages, self._requests = pages, requests

    def paginate(self, **kwargs: Any) -> Any:
        self._requests.append(("list", kwargs["Prefix"].removeprefix("prod/")))
        return self._pages.paginate(**kwargs)


def test_the_claim_adds_four_writes_to_a_seal_and_a_copy_of_each_file(memory_s3: S3Client, homes: Homes) -> None:
    """docs/architecture.md tells what a seal asked for before there were claims."""
    for days in range(2):
        client, home = Counted(memory_s3), homes(f"home-{days}", days)
        home.publish(client)
    (files,) = (
        len(decode_cut(data).files)
        for path, data in in_memory().items()
        if path == f"cuts/date={home.night}/r0001/cut.json"
    )
    own = Counter(
        (name, "sealing/" if path.startswith("sealing/") and path != "sealing/head" else path)
        for name, path in client.requests
        if path.startswith(("sealing/", "log/")) or name == "delete_objects"
    )
    assert own == {
        ("get_object", "sealing/head"): 1,
        ("put_object", "sealing/"): files,
        ("put_object", "sealing/head"): 3,  # commit, agree, release
        ("delete_objects", ""): 1,
        ("get_object", "log/checkpoint"): 1,
        ("get_object", "log/tile/0/000.p/4"): 1,
        ("put_object", "log/tile/0/000.p/8"): 1,
        ("put_object", "log/checkpoint"): 1,
    }
    into_cut = Counter(name for name, path in client.requests if path.startswith("cuts/"))
    assert into_cut == {"list": 1, "head_object": 2, "copy_object": files, "put_object": 4}


def test_two_homes_that_ask_their_witnesses_at_once_lose_no_cosignature(memory_s3: S3Client, homes: Homes) -> None:
    homes("one").publish(memory_s3)
    writes = SealedWrites(memory_s3, S3Location(BUCKET, "prod"))
    slow, fast, late = (Witness(f"witness.example/{number}", number) for number in (7, 8, 9))

    def seen_by(witness: Witness, head: bytes) -> Checkpoint:
        checkpoint = read_checkpoint(head)
        return add_cosignatures(checkpoint, witness.line(checkpoint.note.text), [witness.verifier])

    def overtaken(head: bytes) -> Checkpoint:
        writes.replace_head(partial(seen_by, fast))
        return seen_by(slow, head)

    with pytest.raises(UploadError, match="prod/log/checkpoint: another head was put meanwhile; run the command again"):
        writes.replace_head(overtaken)
    writes.replace_head(partial(seen_by, late))
    (kept,) = [read_checkpoint(data) for path, data in in_memory().items() if path.startswith("log/cosigned/")]
    assert set(cosigned_by(kept, [witness.verifier for witness in (slow, fast, late)])) == {
        f"witness.example/{number}" for number in (7, 8, 9)
    }


@pytest.mark.parametrize(
    ("later", "error", "says"),
    [('"1"', UploadError, "another head was put meanwhile"), ('"0"', WitnessContradictsError, "its end was removed")],
)
def test_a_witness_that_saw_the_next_head_of_another_home_accuses_nobody(
    later: str, error: type[Exception], says: str
) -> None:
    heads = [{"Body": BytesIO(b"head"), "ETag": tag} for tag in ('"0"', later)]
    with pytest.raises(error, match=says):
        SealedWrites(Mock(get_object=Mock(side_effect=heads)), S3Location("b")).replace_head(
            Mock(side_effect=WitnessContradictsError("w1 has cosigned this log at 9 leaves: its end was removed"))
        )
