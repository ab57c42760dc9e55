"""Holds at the vendor and in S3, as both do them."""

from __future__ import annotations

import json
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError
from msgspec import structs
from typer.testing import CliRunner, Result

from custody_pipeline.cli.main import app
from custody_pipeline.extract.genesys import GenesysClient
from custody_pipeline.extract.genesys_errors import NoAnswer
from custody_pipeline.fleet.overview import analyst_database
from custody_pipeline.io.s3 import s3_client
from custody_pipeline.matters import holds
from custody_pipeline.matters.holds import HELD, read_holds
from custody_pipeline.matters.register import register_of
from custody_pipeline.matters.selection import Recording, select
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.ledger import Actor
from custody_pipeline_tests.matters.conftest import Published

pytestmark = pytest.mark.server


def custody(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["matter", *arguments])


def conversations(night: Published) -> list[str]:
    return sorted({row["conversation_id"] for row in night.rows})


def test_two_matters_that_hold_one_conversation_do_not_release_each_others(night: Published) -> None:
    first, second, third, *_ = conversations(night)
    protected = night.server.world.protected
    night.matter("one", f"  ids: [{first}, {second}]")
    night.matter("two", f"  ids: [{second}, {third}]")
    dry = custody("hold", "one")
    assert (dry.exit_code, "would protect 2 conversations" in dry.stdout, protected) == (0, True, set())
    told = custody("hold", "one", "--apply")
    # The bucket of the export has no Object Lock: what could not be held there is a finding.
    assert (told.exit_code, "bucket exports has no Object Lock" in told.stdout) == (1, True)
    custody("hold", "two", "--apply")
    assert protected == {first, second, third}
    night.matter("one", f"  ids: [{first}, {second}, {third}]")
    shown = " ".join(custody("show", "one").stdout.split())
    assert "Held at the vendor: 2 conversations, 1 not: custody matter hold one --apply" in shown
    assert "would release 2 conversations" in custody("release", "one").stdout
    released = custody("release", "one", "--apply")
    assert (released.exit_code, "1 conversations stay held by another matter" in released.stdout) == (0, True)
    assert "1 conversations released, 0 objects released" in released.stdout
    assert protected == {second, third}
    custody("release", "two", "--apply")
    assert protected == set()
    assert read_holds(register_of(night.settings, "two")).conversations == {}


def test_a_matter_whose_file_is_gone_keeps_its_holds_and_is_named(night: Published) -> None:
    first, *_ = conversations(night)
    night.matter("gone", f"  ids: [{first}]")
    night.matter("there", f"  ids: [{first}]")
    custody("hold", "gone", "--apply")
    custody("hold", "there", "--apply")
    file = night.settings.home / "matters" / "gone.yaml"
    moved = file.rename(file.with_suffix(".old"))
    assert "1 conversations stay held by another matter" in custody("release", "there", "--apply").stdout
    assert night.server.world.protected == {first}
    for told in (custody("list"), custody("release", "gone", "--apply")):
        assert "put the file back" in " ".join(f"{told.stderr} {told.exception}".split())
    moved.rename(file)
    custody("release", "gone", "--apply")
    file.rename(moved)
    assert "put the file back" not in custody("list").stderr, "nothing is held any more"
    assert night.server.world.protected == set()


def test_what_somebody_else_protected_before_is_not_released(night: Published) -> None:
    first, second, *_ = conversations(night)
    protected = night.server.world.protected
    protected.add(first)
    for name in ("later", "latest"):
        night.matter(name, f"  ids: [{first}, {second}]")
        custody("hold", name, "--apply")
        assert read_holds(register_of(night.settings, name)).conversations == {first: holds.BEFORE, second: HELD}
    for name in ("later", "latest"):
        assert custody("release", name, "--apply").exit_code == 0
    assert protected == {first}
    protected.clear()


def test_a_hold_without_an_answer_is_told_and_can_be_released(
    night: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = conversations(night)
    night.matter("unanswered", f"  ids: [{first}]")
    known, asked = holds.protected, 0

    def silent(client: GenesysClient, ids: list[str]) -> set[str]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise NoAnswer("POST", "no answer")
        return known(client, ids)

    with monkeypatch.context() as patched:
        patched.setattr(holds, "protected", silent)
        told = custody("hold", "unanswered", "--apply")
    assert (told.exit_code, f"not held, 1: {holds.NO_ANSWER}" in " ".join(told.stdout.split())) == (1, True)
    assert night.server.world.protected == {first}
    with register_of(night.settings, "another").alone():
        assert custody("release", "unanswered", "--apply").exit_code == 0
    assert night.server.world.protected == set()


def test_what_the_vendor_refuses_in_the_middle_is_told_and_asked_again(
    night: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds, "CONVERSATIONS_A_CALL", 1)
    first, second, *_ = conversations(night)
    night.matter("refused", f"  ids: [{first}, {second}]")
    known = night.server.world.conversation

    def forgets(conversation_id: str) -> object:
        return known("nobody" if conversation_id == second else conversation_id)

    with monkeypatch.context() as patched:
        patched.setattr(night.server.world, "conversation", forgets)
        told = custody("hold", "refused", "--apply")
    refusal = f"the vendor refused: not.found: Conversation not found {second}"
    assert (told.exit_code, refusal in " ".join(told.stdout.split())) == (1, True)
    register = register_of(night.settings, "refused")
    assert read_holds(register).conversations == {
        first: HELD, second: "the vendor refused: not.found: Conversation not found"
    }  # fmt: skip
    custody("hold", "refused", "--apply")
    assert read_holds(register).conversations == {first: HELD, second: HELD}
    custody("release", "refused", "--apply")
    assert night.server.world.protected == set()


def test_the_vendors_limit_that_is_reached_in_the_middle_is_a_finding(
    night: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds, "CONVERSATIONS_A_CALL", 2)
    first, second, third, *_ = conversations(night)
    night.matter("limited", f"  ids: [{first}, {second}, {third}]")
    monkeypatch.setattr(night.server.world, "protection_limit", 2)
    told = custody("hold", "limited", "--apply")
    assert (told.exit_code, "2 conversations held" in told.stdout) == (1, True)
    assert "not held, 1: the vendor refused: limit.exceeded" in " ".join(told.stdout.split())
    assert third in told.stdout
    assert night.server.world.protected == {first, second}
    custody("release", "limited", "--apply")
    assert night.server.world.protected == set()


def test_what_the_vendor_does_not_list_is_not_held_whatever_it_answered(
    night: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = conversations(night)
    night.matter("unlisted", f"  ids: [{first}]")

    class Forgets(set[str]):
        def add(self, item: str) -> None:
            pass

    with monkeypatch.context() as patched:
        patched.setattr(night.server.world, "protected", Forgets())
        told = custody("hold", "unlisted", "--apply")
    assert (told.exit_code, "not held, 1: the vendor does not list it" in " ".join(told.stdout.split())) == (1, True)
    assert first in told.stdout


def test_a_hold_that_is_killed_says_what_it_asked_for_and_can_be_released(
    night: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = conversations(night)
    night.matter("killed", f"  ids: [{first}]")
    protect = holds._protect

    def killed(*arguments: object, **options: object) -> object:
        protect(*arguments, **options)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(holds, "_protect", killed)
        assert custody("hold", "killed", "--apply").exit_code != 0
    assert night.server.world.protected == {first}
    assert read_holds(register_of(night.settings, "killed")).conversations == {first: "asked"}
    assert custody("release", "killed", "--apply").exit_code == 0
    assert night.server.world.protected == set()


def test_a_hold_and_a_release_are_custody_events_also_when_they_were_killed_before(
    night: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = conversations(night)
    night.matter("recorded", f"  ids: [{first}]")

    def events() -> list[tuple[str, str, str]]:
        with Warehouse(night.settings).open(read_only=True) as con:
            return con.execute(
                "SELECT action, recording_id, how FROM custody.custody_events "
                "WHERE why = 'matter recorded: Smith v. Acme' ORDER BY action, recording_id"
            ).fetchall()

    with monkeypatch.context() as patched:
        patched.setattr(holds, "record_acts", Mock(side_effect=KeyboardInterrupt))
        assert custody("hold", "recorded", "--apply").exit_code != 0
    assert (night.server.world.protected, events()) == ({first}, [])
    custody("hold", "recorded", "--apply")
    recordings = sorted(row["recording_id"] for row in night.rows if row["conversation_id"] == first)
    held = [("held", recording, f"PUT {holds.PROTECTION}") for recording in recordings]
    assert events() == held
    custody("hold", "recorded", "--apply")
    custody("release", "recorded", "--apply")
    assert events() == held + [("released", *event[1:]) for event in held]
    assert night.server.world.protected == set()


def test_what_is_left_of_deleted_audio_is_held_too(night: Published) -> None:
    lost = next(row for row in night.rows if row["media_state"] == "removed")
    with Warehouse(night.settings).open(read_only=True) as con:
        where = "SELECT DISTINCT where_at FROM custody.custody_events WHERE recording_id = ? AND action = 'exported'"
        ((version,),) = con.execute(where, [lost["recording_id"]]).fetchall()
    night.matter("lost", f"  ids: ['{lost['recording_id']}']")
    told = json.loads(custody("hold", "lost", "--apply", "--json").stdout)
    custody("release", "lost", "--apply")
    assert lost["object_uri"] is None
    assert "no Object Lock" in told["failed"][version.partition("?")[0]]


def test_every_version_is_held_where_the_bucket_has_object_lock_and_an_older_hold_is_left(
    night: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds, "_exported", lambda *_: {"s3://locked/a.opus"})
    client = s3_client(night.settings)
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    first, second = (client.put_object(Bucket="locked", Key="a.opus", Body=data)["VersionId"] for data in (b"1", b"2"))
    client.put_object(Bucket="locked", Key="a.opus_metadata.json", Body=b"not the audio")
    client.put_object_legal_hold(Bucket="locked", Key="a.opus", VersionId=first, LegalHold={"Status": "ON"})

    def is_held(version: str) -> bool:
        answer = client.get_object_legal_hold(Bucket="locked", Key="a.opus", VersionId=version)
        return answer["LegalHold"].get("Status") == "ON"

    settings = night.settings.model_copy(update={"publish_url": None})
    register, actor = register_of(settings, "locked"), Actor.of(settings)
    held = holds.hold(settings, register, _recordings(night, "s3://locked/a.opus"), actor, "matter 1")
    uris = [f"s3://locked/a.opus?versionId={version}" for version in (first, second)]
    assert held.objects == dict(zip(uris, ("held before", HELD), strict=True))
    assert (held.failed, held.unrecorded, is_held(first), is_held(second)) == ({}, {}, True, True)
    with pytest.raises(ClientError):
        client.delete_object(Bucket="locked", Key="a.opus", VersionId=second)
    outcome = holds.release(settings, register, actor, "matter 1")
    assert (outcome.failed, outcome.kept) == ({}, {"conversations": 0, "objects": 0})
    assert outcome.released == {"conversations": 1, "objects": 1}
    assert (is_held(first), is_held(second)) == (True, False)
    client.put_object_legal_hold(Bucket="locked", Key="a.opus", VersionId=first, LegalHold={"Status": "OFF"})


def test_where_nobody_may_see_earlier_holds_one_is_written_down_before_it_is_set_and_never_lifted(
    night: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = s3_client(night.settings)
    client.create_bucket(Bucket="unseen", ObjectLockEnabledForBucket=True)
    version = client.put_object(Bucket="unseen", Key="a.opus", Body=b"1")["VersionId"]
    uri = f"s3://unseen/a.opus?versionId={version}"
    settings = night.settings.model_copy(update={"publish_url": None})
    register, actor = register_of(settings, "unseen"), Actor.of(settings)
    asked = _recordings(night, "s3://unseen/a.opus")

    monkeypatch.setattr(holds, "_exported", lambda *_: {"s3://unseen/a.opus"})
    monkeypatch.setattr(holds, "_before", lambda *_: holds.UNSEEN)
    with monkeypatch.context() as patched:
        patched.setattr(holds, "_legal_hold", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            holds.hold(settings, register, asked, actor, "matter 1")
    assert read_holds(register).objects == {uri: holds.UNSEEN}
    assert holds.hold(settings, register, asked, actor, "matter 1").objects == {uri: holds.BEFORE}
    assert holds.release(settings, register, actor, "matter 1").released["objects"] == 0
    held = client.get_object_legal_hold(Bucket="unseen", Key="a.opus", VersionId=version)
    assert held["LegalHold"]["Status"] == "ON"
    client.put_object_legal_hold(Bucket="unseen", Key="a.opus", VersionId=version, LegalHold={"Status": "OFF"})


def _recordings(night: Published, uri: str) -> list[Recording]:
    with analyst_database(night.settings) as con:
        (item, *_) = select(con, night.matter(uri.split("/")[2], "  where: 1 = 1")).recordings
    return [structs.replace(item, object_uri=uri, sidecar_uri=None)]
