"""Names beside ids: as the night first knew them, so that a name that changes later changes no night."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from custody_pipeline_tests.sql.conftest import NIGHT, SCRIPT, together

if TYPE_CHECKING:
    from custody_pipeline_tests.sql.conftest import Night, Parts


@together
def test_agents_are_named_in_the_order_of_their_ids(night: Night) -> Parts:
    night.call(agent={})
    night.sidecar()["user_ids"] = ["u-2", "u-1", "u-3"]
    night.rows["users"] = [
        {"user_id": "u-1", "user_name": "Zoe"},
        {"user_id": "u-3", "user_name": "Ann"},
        {"user_id": "u-4", "user_name": "Somebody else"},
    ]
    yield
    assert (night.row()["user_ids"], night.row()["agent_names"]) == (["u-1", "u-2", "u-3"], ["Zoe", None, "Ann"])
    assert night.gap("REQUIRED_TAG_MISSING")["agent_names"] == ["Zoe", None, "Ann"]


@together
def test_agents_have_no_names_where_the_client_may_not_list_users(night: Night) -> Parts:
    night.call()
    yield
    assert night.row()["agent_names"] is None


@together
def test_names_that_change_later_change_no_night(night: Night) -> Parts:
    night.call()
    night.audit("Download", user_id="c1-user-1")
    night.rows["users"] = [{"user_id": "c1-user-1", "user_name": "Ann"}]
    yield
    before = night.sha256()
    night.rows["users"] = [{"user_id": "c1-user-1", "user_name": "Ann Roe"}]
    night.rows["queues"] = [{"queue_id": "q-intake", "queue_name": "Intake 2"}]
    yield
    assert (night.row()["agent_names"], night.row()["queue_names"]) == (["Ann"], ["Intake"])
    assert night.sha256() == before
    assert night.table("agents")[0]["user_name"] == "Ann Roe"


def test_a_queue_that_the_night_does_not_know_has_the_name_that_another_night_knew_first(night: Night) -> None:
    night.call()
    for days, name in ((3, "Intake"), (4, "Intake 2")):
        landing = {"partition_date": str(NIGHT + timedelta(days=days)), "landing_id": f"of another night {days}"}
        night.insert("queues", [{**landing, "queue_id": "q-intake", "queue_name": name}])
        night.insert("extraction_receipts", [{**landing, "resource": "queues", "receipt_state": "complete"}])
    night.rows["queues"] = []
    night.run()
    assert night.row()["queue_names"] == ["Intake"]


def test_a_script_has_the_name_of_its_version_at_the_call(night: Night) -> None:
    night.call()
    night.run()
    before = night.sha256()
    night.rows["published_scripts"] = [
        {"script_id": SCRIPT, "script_name": "Welcome", "version_id": "3", "published_date": "2026-12-01 00:00:00"}
    ]
    night.run()
    assert (night.row()["script_name"], night.row()["script_version"]) == ("Intake", "2")
    assert night.sha256() == before


def test_a_script_that_was_published_after_the_call_has_its_first_name(night: Night) -> None:
    night.call()
    late = {"script_id": SCRIPT, "published_date": "2026-12-01 00:00:00"}
    night.rows["published_scripts"] = [
        {**late, "script_name": "Intake", "version_id": "1"},
        {**late, "script_name": "Welcome", "version_id": "2", "published_date": "2026-12-02 00:00:00"},
    ]
    night.run()
    assert (night.row()["script_name"], night.row()["script_version"]) == ("Intake", None)
