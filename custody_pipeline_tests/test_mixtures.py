"""Nights in which everything goes wrong at once: what was planted is found, with its reason, and nothing else is."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import cache
from pathlib import Path

import pytest

from custody_pipeline.models import run as models_run
from custody_pipeline.models.mapping_file import load_mapping
from custody_pipeline.models.reasons import REASONS
from custody_pipeline.models.run import run_models
from custody_pipeline.settings import Settings
from custody_pipeline.settings.table import ManifestSource
from custody_pipeline.simulator.faults import CATALOGUE, FaultPlan, KeyRow
from custody_pipeline.simulator.local_s3 import LocalS3, S3Endpoint
from custody_pipeline.simulator.organization import Organization
from custody_pipeline.warehouse.connection import Warehouse
from custody_pipeline.warehouse.sql_files import load_models
from custody_pipeline_tests.simulated import rows, run, vendor
from custody_pipeline_tests.simulator.answer_keys import answer_key, mixture

pytestmark = pytest.mark.server

NIGHT = date(2026, 11, 2)
EVERY_MIXED = FaultPlan(FaultPlan.every().shares, mixed=0.6)

# Not faults of the organisation: they need a bucket alone, an object that nobody may read, live capture, or a tag set
# to nothing or behind a prefix, or a request for deletion, and are planted below, in sql/test_reasons.py and by the
# oracle.
ELSEWHERE = {
    "SOURCE_NOT_CONFIGURED", "OBJECT_UNREADABLE", "CAPTURE_MISSING", "CAPTURE_WITHOUT_RECORDING", "TAG_VANISHED",
    "TAG_EMPTY", "TAG_KEY_PREFIXED", "UNRECOGNISED_OBJECT", "FOREIGN_ORGANISATION", "ERASED", "ERASED_AT_VENDOR",
}  # fmt: skip


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Endpoint]:
    with pytest.MonkeyPatch.context() as patched, LocalS3(tmp_path_factory.mktemp("seaweedfs")) as endpoint:
        patched.setenv("AWS_ACCESS_KEY_ID", endpoint.access_key)
        patched.setenv("AWS_SECRET_ACCESS_KEY", endpoint.secret_key)
        yield endpoint


Nights = Callable[[int, int, FaultPlan, bool], tuple[Organization, Settings]]


@pytest.fixture(scope="module")
def night_of(s3: S3Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """Nights by size, seed, faults and whether there is an API: each is collected and modelled once."""

    @cache
    def night_of(size: int, seed: int, plan: FaultPlan, api: bool) -> tuple[Organization, Settings]:
        organization = Organization(seed=seed, night=NIGHT, size=size, faults=plan)
        home = tmp_path_factory.mktemp("home")
        with vendor(organization, s3, home, bucket=f"exports-{size}-{seed}", api=api) as found_at:
            run(found_at.settings, NIGHT)
        return organization, found_at.settings

    return night_of


def confusion(planted: set[KeyRow], found: set[KeyRow]) -> Counter[tuple[str, str]]:
    """(planted, found) → recordings: a reason by itself where it was found, by what stands there instead if not."""
    by_recording: dict[tuple[str, str], tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for place, key in enumerate((planted, found)):
        for row in key:
            by_recording[row[:2]][place].add(row.reason)
    matrix: Counter[tuple[str, str]] = Counter()
    for wanted, got in by_recording.values():
        matrix.update((reason, reason) for reason in wanted & got)
        matrix.update(itertools.product(wanted - got, (got - wanted) or {"nothing"}))
        if not wanted - got:
            matrix.update(("nothing", reason) for reason in got - wanted)
    return matrix


def as_table(matrix: Counter[tuple[str, str]]) -> Iterable[str]:
    """The matrix, a planted reason a line: how often it was found, and what was found instead."""
    yield f"{'planted':<30}{'found':>6}  found instead"
    for planted in sorted({planted for planted, _ in matrix}):
        others = (f"{found} {n}" for (wanted, found), n in sorted(matrix.items()) if wanted == planted != found)
        yield f"{planted:<30}{matrix[planted, planted]:>6}  {', '.join(others)}"


@pytest.mark.parametrize(
    ("size", "seed", "plan", "api", "source"),
    [
        (60, 1, mixture(1), True, "bucket"),
        pytest.param(60, 2, mixture(2), True, "bucket", marks=pytest.mark.slow),
        pytest.param(60, 3, FaultPlan.none(), True, "bucket", marks=pytest.mark.slow),
        pytest.param(240, 4, mixture(4), True, "bucket", marks=pytest.mark.slow),
        (240, 5, EVERY_MIXED, True, "bucket"),
        (240, 6, EVERY_MIXED, False, "bucket"),
        pytest.param(480, 7, EVERY_MIXED, True, "bucket", marks=pytest.mark.slow),
    ],
)
def test_every_planted_fault_is_found_with_its_reason_and_nothing_else(
    night_of: Nights, size: int, seed: int, plan: FaultPlan, api: bool, source: ManifestSource
) -> None:
    organization, settings = night_of(size, seed, plan, api)
    planted = set(answer_key(organization, api=api, manifest_source=source))
    found = {
        KeyRow(*map(str, row))
        for row in rows(settings, "SELECT conversation_id, recording_id, reason FROM custody.gaps")
    }
    matrix = confusion(planted, found)
    print(*as_table(matrix), sep="\n")
    assert {pair: n for pair, n in matrix.items() if pair[0] != pair[1]} == {}
    assert planted == found
    assert rows(settings, "SELECT sum(unexplained) FROM custody.reconciliation") == [(0,)]


def test_a_night_made_in_parts_is_the_same_night(
    night_of: Nights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, made_whole = night_of(240, 5, EVERY_MIXED, True)
    settings, models = made_whole.model_copy(update={"home": tmp_path}), load_models()
    shutil.copyfile(made_whole.warehouse_path, settings.warehouse_path)
    mapping = load_mapping(settings.mapping_path)
    made = [model for model in models.values() if model.materialized == "window" and "conversation_id" in model.grain]
    monkeypatch.setattr(models_run, "PARTS_OF_A_NIGHT", (4,))
    with Warehouse(settings).open() as con:
        for model in made:
            con.execute(f"CREATE TEMP TABLE {model.name} AS FROM {model.key}")
        con.execute("SET threads = 4")  # as a large night has; this one was made by one
        run_models(con, models, NIGHT, mapping, settings)
        for model in made:
            for one, other in ((model.key, model.name), (model.name, model.key)):
                differing = con.execute(f"SELECT * FROM (FROM {one} EXCEPT ALL FROM {other}) LIMIT 3").fetchall()
                assert differing == [], f"{model.key}: only in {one}"


def test_faults_are_mixed_on_one_recording() -> None:
    organization = Organization(seed=7, night=NIGHT, size=1_000, faults=EVERY_MIXED)
    numbers = Counter(len(item.faults) for item in organization.conversations())
    assert numbers[1] > 50
    assert numbers[2] > 20
    assert sum(n for count, n in numbers.items() if count > 2) > 5


def test_every_reason_is_planted_somewhere() -> None:
    assert {reason.code for reason in REASONS} == CATALOGUE.keys() | ELSEWHERE
