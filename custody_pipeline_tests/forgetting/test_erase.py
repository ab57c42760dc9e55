"""Erasing one conversation of a published night: what was removed is nowhere, and what stays verifies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from filelock import FileLock

from custody_pipeline import night as nights
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.evidence.verify.findings import Report
from custody_pipeline.evidence.verify.options import Options
from custody_pipeline.evidence.verify.target import verify
from custody_pipeline.extract.gdpr_requests import REQUESTS
from custody_pipeline.extract.genesys import GenesysClient
from custody_pipeline.forgetting import erase as erase_module
from custody_pipeline.forgetting import warehouse_rows
from custody_pipeline.forgetting.due import apply, plan
from custody_pipeline.forgetting.erase import ErasureBusyError, HeldError, _alone, erase, look, resume
from custody_pipeline.forgetting.finder import Asked, Found, NothingToEraseError, holds_of
from custody_pipeline.forgetting.places import Place, capture_keys
from custody_pipeline.forgetting.policy import load_policy
from custody_pipeline.io.s3 import S3Location
from custody_pipeline.matters.holds import HELD, Holds
from custody_pipeline.matters.id_list import IdList
from custody_pipeline.matters.matter import Selection
from custody_pipeline.matters.register import new_matter, register_of
from custody_pipeline.night import run
from custody_pipeline.operations.package_register import keep_package, new_package, packages_of
from custody_pipeline.operations.packaging import PackageError, package
from custody_pipeline.operations.rebuild import _restore_request, rebuild
from custody_pipeline.publish.bucket_reader import S3Reader
from custody_pipeline.publish.landed import Sources, cuts_by_night
from custody_pipeline.publish.sealing import signing_verifiers
from custody_pipeline.settings import Settings
from custody_pipeline.warehouse.connection import WarehouseBusyError
from custody_pipeline.warehouse.erasures import Request, keep_request, requests_of
from custody_pipeline_tests.forgetting.conftest import MARKED, NIGHT, Deployment
from custody_pipeline_tests.forgetting.killed import killed_at, say
from custody_pipeline_tests.forgetting.traces import SECOND, THIRD, in_bucket, in_home, versions

pytestmark = pytest.mark.server


def asked(*ids: str) -> Asked:
    return Asked(Selection(ids=IdList.of(ids)), "Article 17 GDPR", "request 7")


def checked(deployment: Deployment, **options: object) -> Report:
    place = S3Location.parse(str(deployment.settings.publish_url))
    keys = signing_verifiers(deployment.settings)
    return verify(S3Reader(deployment.client, place), Options(public_keys=keys, **options))  # type: ignore[arg-type]


GONE = MARKED + 3
"""The conversation that the vendor erases."""

ERASED_ACTS = "SELECT * EXCLUDE (sequence) FROM custody.custody_events WHERE action = 'erased' ORDER BY ALL"


def head(deployment: Deployment) -> bytes:
    return deployment.client.get_object(Bucket="dataset", Key="prod/log/checkpoint")["Body"].read()


def rows(deployment: Deployment, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(deployment.settings.analyst_path), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_an_erased_conversation_is_nowhere_and_what_stays_verifies(deployment: Deployment) -> None:
    home, client = deployment.settings.home, deployment.client
    recordings = rows(
        deployment,
        f"SELECT recording_id FROM custody.chain_of_custody WHERE conversation_id = '{deployment.conversation}'",
    )
    case, altered = home.with_name("case-4"), home.with_name("case-5")
    for handed in (case, altered):
        chosen = [str(row[0]) for row in recordings]
        place, whom = str(deployment.settings.publish_url), "Jane Roe, Roe LLP"
        package(deployment.settings, place, handed, recordings=chosen, night=None, reason="request 4", recipient=whom)
    (altered / "tagmanifest-sha256.txt").write_text("of somebody else")
    # What a process leaves that is killed while it makes a package.
    killed = new_package("roe", "", "request 4", home.with_name("case-6"))
    keep_package(deployment.settings, killed)
    killed.draft.mkdir()
    assert in_home(case)
    before = in_home(home)
    # The search finds the mark in each kind of place: it could find it after.
    assert {"warehouse.duckdb", "analyst.duckdb", "spool/events.sqlite", "interrupted/left.ndjson"} <= before
    for folder in ("captures/captures", "captures/events", "landing/captures", "landing/conversations"):
        assert any(name.startswith(folder) for name in before), folder
    sealed = in_bucket(client, "dataset")
    kinds_of_files = ("chain_of_custody.parquet", "records.ndjson", "custom_data.csv", "custom_data.xlsx")
    for name in (*(f"data/{kind}" for kind in kinds_of_files), "landing/captures"):
        for revision in (1, 2):
            assert any(key.startswith(f"prod/cuts/date=2026-11-02/r{revision:04d}/{name}") for key in sealed), name
    for folder in ("parquet", "csv", "spreadsheet"):
        assert any(key.startswith(f"prod/{folder}/") for key in sealed), folder
    old, others = head(deployment), rows(deployment, "SELECT count(*) FROM custody.chain_of_custody")
    kept = rows(
        deployment, f"SELECT * FROM custody.custom_data WHERE conversation_id = '{deployment.other}' ORDER BY ALL"
    )

    found = look(deployment.settings, asked(deployment.conversation))
    kinds = {place.kind for place in found.places}
    assert kinds >= {"warehouse", "snapshot", "landing", "cut", "current", "capture", "spool", "file", "package"}
    assert found.holds == ()
    assert in_home(home) == before

    outcome = erase(deployment.settings, asked(deployment.conversation), say)

    assert outcome.request.state == "done"
    assert in_home(home) == set()
    assert (case.exists(), altered.exists(), killed.draft.exists()) == (False, True, False)
    assert [item.state() for item in packages_of(deployment.settings)] == ["removed", "altered"]
    told_of = [note for note in outcome.notes if "for Jane Roe, Roe LLP: request 4" in note]
    assert [note.split(":")[0] for note in told_of] == [str(case), str(altered)]
    assert "look at it; it stays" in told_of[1]
    assert in_bucket(client, "dataset") == set()
    report = checked(deployment, pinned=[old])
    assert not report.of(Severity.ERROR), report.summary()
    assert report.status == 0, report.summary()
    (told,) = [finding for finding in report.findings if finding.code == "ERASED"]
    assert "request 7" in told.detail
    assert rows(deployment, "SELECT count(*) FROM custody.chain_of_custody") == others
    tombstones = rows(
        deployment,
        "SELECT custody_status, gap_reasons, ani, custom_data FROM custody.chain_of_custody "
        f"WHERE conversation_id = '{deployment.conversation}'",
    )
    assert tombstones
    assert set(map(str, tombstones)) == {str(("excluded", ["ERASED"], None, None))}
    assert kept == rows(
        deployment, f"SELECT * FROM custody.custom_data WHERE conversation_id = '{deployment.other}' ORDER BY ALL"
    )
    # A package made later has the rows that say ERASED; one that an unfinished erasure overtakes is not written.
    handed = home.with_name("case-7")
    made = package(deployment.settings, place, handed, recordings=None, night=NIGHT, reason="request 5")
    assert [(made["recordings"],)] == others
    overtaken = msgspec.structs.replace(outcome.request, id="f" * 32, conversations=(deployment.other,), state="begun")
    keep_request(deployment.settings, overtaken)
    try:
        with pytest.raises(PackageError, match="erased meanwhile"):
            package(deployment.settings, place, home.with_name("case-8"), recordings=None, night=NIGHT, reason="r")
    finally:
        (home / "erasures" / f"{overtaken.id}.json").unlink()
    assert not home.with_name("case-8").exists()


def erase_at_vendor(deployment: Deployment, number: str) -> None:
    """Request the erasure at the vendor, and poll the request until it is carried out."""
    with GenesysClient(deployment.settings) as client:
        made = client.post(f"{REQUESTS}?deleteConfirmed=true", deletion_of(number)).object()
        while client.get(f"{REQUESTS}/{made['id']}").object()["status"] != "COMPLETED":
            pass


def deletion_of(number: str) -> dict[str, object]:
    return {"requestType": "GDPR_DELETE", "subject": {"name": "Jane Roe", "phoneNumbers": [number]}}


@pytest.fixture(scope="module")
def collected_again(deployment: Deployment) -> Deployment:
    """The night, collected again after an erasure at the vendor. An erasure here ends while it is collected."""
    erase_at_vendor(deployment, deployment.organization.conversation(GONE).ani)
    assert in_home(deployment.settings.home, THIRD)
    collect = nights.COLLECT["conversations"]
    ended = []

    def collect_and_erase(*arguments: Any) -> Any:
        landings = collect(*arguments)
        ended.append(erase(deployment.settings, asked(deployment.third), say).request.state)
        return landings

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(nights.COLLECT, "conversations", collect_and_erase)
        run(deployment.night)
    assert ended == ["done"]
    return deployment


def test_an_erasure_while_a_night_is_collected_again_leaves_nothing_in_it(collected_again: Deployment) -> None:
    """A nightly run, a recheck and a backfill collect a night by the same steps."""
    assert in_home(collected_again.settings.home, THIRD) == set()
    assert in_bucket(collected_again.client, "dataset", THIRD) == set()
    assert checked(collected_again).status == 0
    (found,) = rows(
        collected_again,
        f"SELECT DISTINCT gap_reasons FROM custody.chain_of_custody WHERE conversation_id = '{collected_again.third}'",
    )
    assert found == (["ERASED"],)


def test_what_the_vendor_still_delivers_does_not_come_back_nor_from_a_lost_warehouse(
    collected_again: Deployment,
) -> None:
    deployment, settings = collected_again, collected_again.settings
    gone = deployment.organization.conversation(GONE)

    vanished = rows(
        deployment, f"SELECT reason, detail, evidence FROM custody.gaps WHERE conversation_id = '{gone.id}'"
    )
    assert {str(reason) for reason, *_ in vanished} == {"ERASED_AT_VENDOR"}
    assert all("(COMPLETED) names somebody of it: phoneNumbers" in str(detail) for _, detail, _ in vanished)
    assert all("gdpr_requests document: request" in str(proof) for *_, proof in vanished)
    assert in_home(settings.home) == set()
    assert in_bucket(deployment.client, "dataset") == set()
    with deployment.night.warehouse.open(read_only=True) as con:
        told = con.execute(
            "SELECT detail FROM raw.extraction_receipts WHERE resource = 'conversation_details' ORDER BY sequence DESC"
        ).fetchone()
    assert told is not None
    assert str(told[0]) == "1 document of an erased conversation was not kept"

    acts = rows(deployment, ERASED_ACTS)
    assert acts
    settings.warehouse_path.unlink()
    for path in (settings.home / "erasures").glob("*.json"):
        path.unlink()
    (rebuilt,) = rebuild(settings, deployment.night.mapping, say)
    assert (rebuilt.differing, rebuilt.lost) == ((), ())
    assert rows(deployment, ERASED_ACTS) == acts
    assert [request.state for request in requests_of(settings)] == ["done", "done"]
    assert in_home(settings.home) == set()
    assert checked(deployment).status == 0
    with pytest.raises(NothingToEraseError):
        look(settings, asked("00000000-0000-4000-8000-000000000000"))
    with pytest.raises(NothingToEraseError, match="erased before"):
        look(settings, asked(deployment.conversation))
    assert resume(settings, say) == []


def test_a_warehouse_that_is_in_use_is_not_taken_for_another_erasure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    monkeypatch.setattr(warehouse_rows, "LOCK_TIMEOUT_SECONDS", 0.01)
    settings.warehouse_path.touch()
    lock = FileLock(settings.warehouse_path.with_suffix(".lock"))
    with lock, pytest.raises(WarehouseBusyError, match=r"warehouse.duckdb for more than 0.01 s"), _alone(settings):
        warehouse_rows.compact(settings)


def test_a_waiting_request_may_break_governance_locks_when_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message of the hold names the option, and that the request waits for --resume."""
    request = Request(
        "0" * 32, "2026-11-03T00:00:00Z", "x", "r", "a", ("key",), (), (), ("2026-11-02",), state="waiting",
        forget_key=True,
    )  # fmt: skip

    def found(*looked: Any) -> Found:
        return Found(looked[-1], (), () if looked[-1].bypass_governance else ("a GOVERNANCE lock",))

    settings = Settings(home=tmp_path, s3_region="eu-central-1")
    keep_request(settings, request)
    monkeypatch.setattr(erase_module, "found_by_key", found)
    monkeypatch.setattr(erase_module._Erasing, "carry_out", lambda erasing: erase_module.Outcome(erasing.request))
    (held,) = resume(settings, say)
    assert held.request.state == "waiting"
    (begun,) = resume(settings, say, bypass_governance=True)
    assert (begun.request.state, begun.request.bypass_governance) == ("begun", True)


def test_an_erasure_that_is_killed_at_each_step_is_ended_and_never_claims_to_be_whole(
    deployment: Deployment, tmp_path: Path
) -> None:
    policy, client = tmp_path / "retention.yaml", deployment.client
    policy.write_text("version: 1\nauthority: schedule\nrules: [{name: all calls, keep: 7 years}]")
    settings = deployment.settings.model_copy(update={"retention_path": policy})
    table = f"prod/cuts/date=2026-11-02/r{newest(deployment):04d}/data/chain_of_custody.parquet"
    until = datetime.now(UTC) + timedelta(days=1)
    client.put_object_retention(Bucket="dataset", Key=table, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until})
    wanted = asked(deployment.other)
    with pytest.raises(HeldError, match=r"GOVERNANCE.*--bypass-governance"):
        erase(settings, wanted, say)
    (waiting,) = [request for request in requests_of(settings) if request.state == "waiting"]
    (settings.home / f"erasures/{waiting.id}.json").unlink()
    with FileLock(settings.home / "erasures/lock"), pytest.raises(ErasureBusyError):
        resume(settings, say)

    wanted = replace(wanted, bypass_governance=True)
    assert in_home(settings.home, SECOND)
    assert in_bucket(client, "dataset", SECOND)
    killed_at(settings, wanted, ("landing_rewrite", "LandingRewrite._put"))
    for step in (
        ("warehouse_rows", "delete_rows"),
        ("erase", "publish"),
        ("erase", "remove_versions"),
        ("erase", "snapshot_for_analysts"),
        ("warehouse_rows", "compact"),
        ("erase", "_forget_salts"),
    ):
        killed_at(settings, None, step)
        if step[1] in {"compact", "_forget_salts"}:  # nothing that is published changes any more
            continue
        report = checked(deployment)
        assert not report.of(Severity.ERROR), (step, report.summary())
        assert {finding.code for finding in report.of(Severity.UNCHECKED)} <= {"ERASURE_UNFINISHED"}
        # It claims to be whole before the statement is sealed, and after everything that it names is gone.
        assert (report.status == 2) is (step[1] in {"publish", "remove_versions"}), (step, report.summary())
        if "publish" in step:
            assert restored(deployment, tmp_path) == "begun", "a home that is lost now has not ended it"
    salt = (settings.home / "keys/salt").read_text()
    (outcome,) = apply(settings, None, NIGHT, say).outcomes

    assert outcome.request.state == "done"
    page = (settings.home / f"reports/{NIGHT}/report.html").read_text()
    assert f"conversations of {NIGHT} until 2033-11-03 (all calls)" in page
    assert (settings.home / "keys/salt").read_text() != salt
    assert checked(deployment).status == 0
    ids = f"('{deployment.conversation}', '{deployment.other}')"
    found = rows(
        deployment, f"SELECT DISTINCT gap_reasons FROM custody.chain_of_custody WHERE conversation_id IN {ids}"
    )
    assert found == [(["ERASED"],)]
    told = rows(deployment, f"SELECT count(*) FROM custody.custom_data WHERE conversation_id IN {ids}")
    assert told == [(0,)]
    assert in_home(settings.home, SECOND) == set()
    assert in_bucket(client, "dataset", SECOND) == set()


def restored(deployment: Deployment, home: Path) -> str:
    """The state of the newest cut's request in a home that knows of it by the cut alone."""
    place = S3Location.parse(str(deployment.settings.publish_url))
    cuts = cuts_by_night(S3Reader(deployment.client, place), signing_verifiers(deployment.settings))
    settings = deployment.settings.model_copy(update={"home": home})
    _restore_request(Sources(settings, deployment.client, place, home), cuts[NIGHT][-1].cut, say)
    return requests_of(settings)[-1].state


def test_landing_files_go_in_their_own_time_where_a_signed_cut_has_them(deployment: Deployment, tmp_path: Path) -> None:
    settings, path = deployment.settings, tmp_path / "retention.yaml"
    path.write_text("version: 1\nauthority: schedule\nrules: [{name: all, landing: 20 days}]")
    landed = {file.parent.parent.name for file in settings.home.glob(f"landing/*/date={NIGHT}/*")}
    assert plan(settings, load_policy(path), date(2026, 11, 22)).places.due == ()
    applied = apply(settings, load_policy(path), date(2026, 11, 23), say)
    left = {file.parent.parent.name for file in settings.home.glob(f"landing/*/date={NIGHT}/*")}
    assert applied.places["landing"] > 10
    assert "extraction_receipts" in left < landed
    assert checked(deployment).status == 0


def test_holds_win_and_the_request_waits(deployment: Deployment) -> None:
    settings, client = deployment.settings, deployment.client
    third = str(rows(deployment, "SELECT min(conversation_id) FROM custody.custom_data")[0][0])
    table = f"prod/cuts/date=2026-11-02/r{newest(deployment):04d}/data/records.ndjson"
    until = datetime.now(UTC) + timedelta(days=1)
    client.put_object_retention(Bucket="dataset", Key=table, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until})
    register = register_of(settings, "smith")
    new_matter(settings, "smith", "Smith", "1", {"ids": [third]})
    register.folder.mkdir(parents=True, exist_ok=True)
    (register.folder / "holds.json").write_bytes(msgspec.json.encode(Holds({third: HELD})))
    before = {key for key, _ in versions(client, "dataset")}
    path = settings.home / "retention.yaml"
    select = f"{{where: \"conversation_id = '{third}'\"}}"
    path.write_text(f"version: 1\nauthority: schedule\nrules: [{{name: one, keep: 1 day, select: {select}}}]")
    policy, later = load_policy(path), date(2026, 12, 1)
    planned = plan(settings, policy, later)
    assert (planned.due, planned.coming) == ((), ())
    assert [(item.conversation_id, "smith" in why) for item, why in planned.held] == [(third, True)]
    assert plan(settings, policy, NIGHT).coming[0].day == date(2026, 11, 4)
    applied = apply(settings, policy, later, say)
    assert (applied.outcomes, len(applied.held)) == ([], 1)

    for attempt in range(2):
        with pytest.raises(HeldError) as held:
            erase(settings, asked(third), say)
        assert ("held by matter smith" in str(held.value)) is (attempt == 0)
        assert "COMPLIANCE" in str(held.value)
        assert f"until {until:%Y-%m-%d}" in str(held.value)
        assert "nobody can break it" in str(held.value)
        (register.folder / "holds.json").unlink(missing_ok=True)
    # Also without a policy the job tries again what waits: of the first request, the matter's hold has ended.
    applied = apply(settings, None, later, say)

    assert (applied.outcomes, len(applied.held)) == ([], 2)
    assert not any("smith" in held for held in applied.held)
    assert all("COMPLIANCE" in held for held in applied.held)
    assert {request.state for request in requests_of(settings) if request.conversations == (third,)} == {"waiting"}
    assert {key for key, _ in versions(client, "dataset")} == before
    assert rows(deployment, f"SELECT count(*) > 0 FROM custody.custom_data WHERE conversation_id = '{third}'") == [
        (True,)
    ]


def test_locks_of_landing_files_and_captures_hold_as_well(deployment: Deployment) -> None:
    client, until = deployment.client, datetime.now(UTC) + timedelta(days=1)
    capture, landed = "captures/date=2026-11-02/conversation_id=c1/1.json", "s3://dataset/kept/landing/x.ndjson.gz"
    for key, mode in ((f"kept/captures/{capture}", "COMPLIANCE"), ("kept/landing/x.ndjson.gz", "GOVERNANCE")):
        lock: Any = {"Mode": mode, "RetainUntilDate": until}
        client.put_object(Bucket="dataset", Key=key, Body=b"x")
        client.put_object_retention(Bucket="dataset", Key=key, Retention=lock)
    settings = Settings(
        home=deployment.settings.home,
        capture_url="s3://dataset/kept/captures",
        s3_endpoint_url=deployment.settings.s3_endpoint_url,
    )
    request = requests_of(deployment.settings)[0]
    found = [Place("capture", capture), Place("landing", landed)]
    with deployment.night.warehouse.open(read_only=True) as con:
        held = list(holds_of(con, settings, client, request, found))
    assert [("COMPLIANCE" in hold, "GOVERNANCE" in hold) for hold in held] == [(True, False), (False, True)]
    assert all(until.strftime("%Y-%m-%d") in hold for hold in held)


def test_an_event_that_lies_under_another_day_is_found_in_a_bucket(deployment: Deployment) -> None:
    keys = [
        f"events/date={day}/conversation_id={name}/1.json"
        for day, name in (("1970-01-01", "c1"), ("2026-11-02", "c1"), ("2026-11-09", "c1"), ("2026-11-09", "c2"))
    ]
    for key in keys:
        deployment.client.put_object(Bucket="dataset", Key=f"beside/{key}", Body=b"{}")
    settings = Settings(capture_url="s3://dataset/beside")
    assert list(capture_keys(settings, deployment.client, {"c1"})) == keys[:3]


def newest(deployment: Deployment) -> int:
    with deployment.night.warehouse.open(read_only=True) as con:
        (revision,) = con.execute("SELECT max(revision) FROM raw.publications").fetchone() or (0,)
    return int(revision)
