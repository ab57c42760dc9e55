"""Running a plan: servers, buckets, processes, and what is published in the end; shrinking a plan that fails.

Belongs here: the order of one trial. Does not: what is right (properties), what breaks (faults).
"""

from __future__ import annotations

import itertools
import json
import logging
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from custody_pipeline_tests.oracle.adapter import Deployment, Ending, Night, make_signing_key, start_night
from custody_pipeline_tests.oracle.faults import Plan, ProcessFault, make_plan
from custody_pipeline_tests.oracle.properties import (
    ENDS_WITH_0,
    FAILED_ENDS_WITH_0,
    FAILED_ESTABLISHES,
    SERVED_IS_PUBLISHED,
    Broken,
    Published,
    Run,
    faded,
    judge,
    read_published,
)
from custody_pipeline_tests.oracle.sources import INTEGRATION_ID, Organisation, Platform, Refusal, View
from custody_pipeline_tests.oracle.truth import NIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator

EXPORTS, PUBLISHED = "oracle-exports", "oracle-published"


@dataclass(frozen=True)
class Trial:
    """The outcome of one plan."""

    plan: Plan
    broken: list[Broken]
    endings: list[Ending]
    unknown: set[str]

    @property
    def properties(self) -> set[str]:
        """Names of the properties that do not hold."""
        return {broken.property for broken in self.broken}


class Machine:
    """Servers that serve one trial after another; started once per process."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.platform = Platform()
        self.s3: Any = boto3.client(
            "s3",
            endpoint_url=self.platform.s3_url,
            region_name="us-east-1",
            aws_access_key_id="oracle",
            aws_secret_access_key="testing",
        )
        for bucket in (EXPORTS, PUBLISHED):
            self.s3.create_bucket(Bucket=bucket)
        self._folder = tempfile.TemporaryDirectory(prefix="oracle-key-")
        self.signing_key = make_signing_key(Path(self._folder.name))

    def close(self) -> None:
        """Stop the servers."""
        self.s3.close()
        self.platform.close()
        self._folder.cleanup()

    def run(self, plan: Plan) -> Trial:
        """Run a plan and judge it."""
        with tempfile.TemporaryDirectory(prefix="oracle-") as folder:
            return _Trial(self, plan, Path(folder)).run()

    def clear(self) -> None:
        """Empty both buckets."""
        for bucket in (EXPORTS, PUBLISHED):
            for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                if keys := [{"Key": entry["Key"]} for entry in page.get("Contents", ())]:
                    self.s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})

    def objects(self, prefix: str) -> dict[str, bytes]:
        """The publish bucket below a prefix."""
        found = self.platform.stored(PUBLISHED).items()
        return {key.removeprefix(f"{prefix}/"): content for key, content in found if key.startswith(f"{prefix}/")}


@contextmanager
def machine() -> Iterator[Machine]:
    """A machine whose servers are stopped in the end."""
    made = Machine()
    try:
        yield made
    finally:
        made.close()


class _Trial:
    def __init__(self, machine: Machine, plan: Plan, folder: Path) -> None:
        self.machine, self.plan, self.folder = machine, plan, folder
        self.endings: list[Ending] = []
        self.unknown: set[str] = set()

    def run(self) -> Trial:
        self.machine.clear()
        view = self.plan.view()
        self._fill(view)
        how = self.plan.process
        broken = self._plain(view) if how is None else getattr(self, f"_{how.how}")(view, how)
        return Trial(self.plan, broken, self.endings, self.unknown)

    def _fill(self, view: View) -> None:
        for key, content in view.objects.items():
            self.machine.s3.put_object(Bucket=EXPORTS, Key=key, Body=content)

    def _deployment(self, home: str = "home", prefix: str = "out", clock_ahead: float = 0.0) -> Deployment:
        world = self.plan.world
        return Deployment(
            home=self.folder / home,
            night=NIGHT.isoformat(),
            s3_url=self.machine.platform.s3_url,
            export_url=f"s3://{EXPORTS}",
            publish_url=f"s3://{PUBLISHED}/{prefix}",
            api_url=self.machine.platform.api_url if world.api else None,
            integration_id=INTEGRATION_ID,
            manifest_source=world.manifest_source,
            single_reads=world.single_reads,
            signing_key=self.machine.signing_key,
            clock_ahead=clock_ahead,
        )

    def _night(self, deployment: Deployment, view: View, kill_at: int | None = None) -> Run:
        """Run one night over `view`; with `kill_at`, kill its process at that request to the API or S3."""
        running: list[Night] = []
        count = itertools.count(1)
        refuse = self.plan.refuser()

        def watch() -> None:
            if kill_at is not None and next(count) >= kill_at and running and not running[0].killed:
                running[0].kill()

        def refuse_and_watch(method: str, path: str) -> Refusal | None:
            watch()
            return refuse(method, path)

        organisation = Organisation(view, self.plan.tamper, watch)
        self.machine.platform.serve(organisation, refuse_and_watch)
        running.append(start_night(deployment, by_command=self._by_command))
        ending = running[0].wait()
        self.machine.platform.serve(None)
        self.endings.append(ending)
        self.unknown |= organisation.unknown
        return Run(self.plan, view, ending, organisation.served, self._published(deployment))

    def _published(self, deployment: Deployment) -> Published | None:
        return read_published(self.machine.objects(deployment.publish_url.rpartition("/")[2]))

    @property
    def _by_command(self) -> bool:
        """Run whole commands, which wait for one another in a home: for a pair, and in one of 32 other plans."""
        return (self.plan.process is not None and self.plan.process.how == "pair") or self.plan.world.seed % 32 == 9

    def _plain(self, view: View) -> list[Broken]:
        return judge(self._night(self._deployment(), view))

    def _again(self, view: View, _: ProcessFault) -> list[Broken]:
        deployment = self._deployment()
        first, second = self._night(deployment, view), self._night(deployment, view)
        broken = judge(replace(second, served=first.served + second.served))
        if (
            not self.plan.counts_requests
            and first.published
            and second.published
            and second.published.revision != first.published.revision
        ):
            broken.append(Broken("a run that changes nothing publishes nothing", _difference(first, second)))
        return broken

    def _kill(self, view: View, how: ProcessFault) -> list[Broken]:
        deployment = self._deployment()
        killed = self._night(deployment, view, kill_at=how.number)
        after = self._night(deployment, view)
        broken = judge(replace(after, served=killed.served + after.served))
        return broken + self._same(
            after, self._night(self._deployment("calm", "calm"), view), "a killed night ends as another does"
        )

    def _lost(self, view: View, _: ProcessFault) -> list[Broken]:
        first = self._night(self._deployment(), view)
        second = self._night(self._deployment("another"), view)
        broken = judge(replace(second, served=first.served + second.served))
        return broken + self._same(first, second, "a night is the same from a home that was lost and made anew")

    def _twins(self, view: View, how: ProcessFault) -> list[Broken]:
        return self._both(view, [self._deployment("one"), self._deployment("two")])

    def _pair(self, view: View, how: ProcessFault) -> list[Broken]:
        return self._both(view, [self._deployment(), self._deployment()])

    def _both(self, view: View, deployments: list[Deployment]) -> list[Broken]:
        organisation = Organisation(view, self.plan.tamper)
        self.machine.platform.serve(organisation, self.plan.refuser())
        nights = [start_night(deployment, by_command=self._by_command) for deployment in deployments]
        self.endings += [night.wait() for night in nights]
        self.machine.platform.serve(None)
        published = self._published(deployments[0])
        broken: list[Broken] = []
        # Faults limited by count may hit one home alone. The other ends with 0, and may have published the night.
        differ = self.plan.counts_requests and len({ending.status for ending in self.endings}) > 1
        # The home of the last revision has not seen the answers to the other home.
        of_another_home = {SERVED_IS_PUBLISHED} if len({one.home for one in deployments}) > 1 else set()
        for ending in self.endings:
            excused = {FAILED_ESTABLISHES} | of_another_home
            if ending.status == 0:
                excused |= {ENDS_WITH_0, FAILED_ENDS_WITH_0}
            for found in judge(Run(self.plan, view, ending, organisation.served, published)):
                if found not in broken and not (differ and found.property in excused):
                    broken.append(found)
        return broken

    def _order(self, view: View, _: ProcessFault) -> list[Broken]:
        one = self._night(self._deployment(), view)
        size = 50 if self.plan.world.page_size < 50 else 1
        other_view = replace(
            view,
            world=replace(self.plan.world, page_size=size),
            listings={name: items[::-1] for name, items in view.listings.items()},
        )
        other = self._night(self._deployment("other", "other"), other_view)
        return judge(one) + self._same(one, other, "published content never depends on the order of arrival")

    def _early(self, view: View, how: ProcessFault) -> list[Broken]:
        """A first run sees no objects of the last conversation, and its details are not there yet."""
        late = self.plan.world.conversations[-1].id
        for key in view.objects:
            if late in key:
                self.machine.s3.delete_object(Bucket=EXPORTS, Key=key)
        early_view = replace(
            view,
            listings={**view.listings, "details": [name for name in view.listings["details"] if name[1] != late]},
            objects={key: content for key, content in view.objects.items() if late not in key},
        )
        first = self._night(self._deployment(clock_ahead=how.number), early_view)
        self._fill(view)
        second = self._night(self._deployment(), view)
        broken = judge(replace(second, served=first.served + second.served))
        fresh = self._night(self._deployment("fresh", "fresh"), view)
        return broken + self._same(second, fresh, "the newest run counts, whatever the clock said", read_before=late)

    def _fade(self, view: View, _: ProcessFault) -> list[Broken]:
        """Between two runs the last conversation goes from the bucket and from every answer."""
        deployment, gone = self._deployment(), self.plan.world.conversations[-1]
        first = self._night(deployment, view)
        for key in [key for key in view.objects if gone.id in key]:
            self.machine.s3.delete_object(Bucket=EXPORTS, Key=key)
        second = self._night(deployment, view.without(gone))
        return judge(first) + faded(first, second, gone.id)

    def _same(self, one: Run, other: Run, name: str, read_before: str = "") -> list[Broken]:
        # Faults limited by count hit other requests in the second run.
        if self.plan.counts_requests:
            return []
        if (one.published is None) != (other.published is None):
            return [Broken(name, "only one of both was published")]
        difference = _difference(one, other, read_before)
        return [Broken(name, difference)] if difference else []


def _difference(one: Run, other: Run, read_before: str = "") -> str:
    """The differences between two nights' published content; empty if there is none.

    `one` may have more values of tags of the conversation `read_before`: those that an earlier run read stay.
    """
    if one.published is None or other.published is None:
        return ""
    ours, theirs = one.published.content(), other.published.content()
    for table, rows in ours.items():
        if read_before:
            rows = _without_earlier_tags(table, rows, theirs[table], read_before)
        if rows == theirs[table]:
            continue
        left = [row for row in rows if row not in theirs[table]]
        right = [row for row in theirs[table] if row not in rows]
        differences = [f"{table}: {len(rows)} and {len(theirs[table])} rows"]
        for ours_row, theirs_row in zip(map(json.loads, left), map(json.loads, right), strict=False):
            differences += [
                f"{column} {str(value)[:80]!r} and {str(theirs_row[column])[:80]!r}"
                for column, value in ours_row.items()
                if theirs_row[column] != value
            ]
        if len(left) != len(right):
            differences += [row[:300] for row in left[len(right) :] + right[len(left) :]]
        return "; ".join(differences)[:1500]
    return ""


def _without_earlier_tags(table: str, rows: list[str], known: list[str], conversation: str) -> list[str]:
    """`rows` of a table, without tags of a conversation that `known`, the rows of another home, do not have."""
    if table == "custom_data":
        # A tag that the earlier run read may decide in place of one that this run read.
        by_tag = {_unresolved(row): row for row in known}
        return sorted(
            by_tag.get(_unresolved(row), row)
            for row in rows
            if _unresolved(row) in by_tag or json.loads(row)["conversation_id"] != conversation
        )
    by_name = {_name(row): row for row in map(json.loads, known) if row.get("conversation_id") == conversation}
    kept = []
    for row in map(json.loads, rows):
        other = by_name.get(_name(row))
        if row.get("conversation_id") == conversation and other is None and row.get("tag_keys"):
            continue
        if row.get("conversation_id") == conversation and other:
            for column in ("gap_reasons", "tag_keys"):
                if row.get(column) and set(row[column]) >= set(other[column] or ()):
                    row[column] = other[column]
            if row.get("custom_data") and other.get("custom_data"):
                row |= _tags_read_now(row, other)
            if row.get("tag_keys") and row["tag_keys"] == other["tag_keys"]:
                row["detail"] = other["detail"]
        kept.append(json.dumps(row, sort_keys=True))
    return sorted(kept)


def _unresolved(row: str) -> str:
    return json.dumps({name: value for name, value in json.loads(row).items() if name != "is_resolved"})


def _name(row: dict[str, Any]) -> tuple[Any, ...]:
    return row.get("recording_id"), row.get("reason")


def _tags_read_now(row: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The other's tags, if ours are the same but for those that the earlier run read in the conversation."""
    ours, theirs = json.loads(row["custom_data"]), json.loads(other["custom_data"])
    read_before = {key for key, source in json.loads(row["custom_data_source"]).items() if source == "conversation"}
    if any(ours.get(key) != tag and key not in read_before for key, tag in theirs.items()):
        return {}
    return {name: other[name] for name in ("custom_data", "custom_data_source")}


def shrink(machine: Machine, trial: Trial, runs: int = 12) -> Trial:
    """The smallest plan found, within a number of runs, that breaks one of the same properties."""
    best, wanted = trial, trial.properties
    candidates = True
    while candidates and runs > 0:
        candidates = False
        plans = [
            replace(best.plan, faults=tuple(f for f in best.plan.faults if f is not fault))
            for fault in best.plan.faults
        ] + [
            replace(best.plan, world=best.plan.world.without(conversation.id))
            for conversation in best.plan.world.conversations
            if len(best.plan.world.conversations) > 1
        ]
        for plan in plans:
            if runs <= 0:
                break
            runs -= 1
            tried = machine.run(plan)
            if tried.properties & wanted:
                best, candidates = tried, True
                break
    return best


def run_seed(machine: Machine, seed: int) -> Trial:
    """The trial of a seed."""
    return machine.run(make_plan(seed))
