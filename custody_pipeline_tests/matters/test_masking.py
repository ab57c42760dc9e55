"""What a matter withholds is in no file of its volumes, and what stands for it can be opened later."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pypdfium2
import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline.evidence.cut.proof import Prover, read_commitment
from custody_pipeline.evidence.package.signed_volume import list_production, sign_production
from custody_pipeline.evidence.verify.codes import Severity
from custody_pipeline.matters.masking import WITHHELD, of_one_matter, shown, unknown_keys
from custody_pipeline.matters.matter import Mask
from custody_pipeline.matters.matter_file import load_matter
from custody_pipeline.matters.production_tables import CUSTODY_LOG
from custody_pipeline.models.mapping import MappedTag, TagMapping
from custody_pipeline.operations.verification import open_target, public_keys
from custody_pipeline.publish.sealing import load_sealing
from custody_pipeline_tests.evidence.packages import sign_again
from custody_pipeline_tests.matters.conftest import Published
from custody_pipeline_tests.matters.test_production import index, verify

pytestmark = pytest.mark.server

MAPPING = TagMapping(
    Path("mapping.yaml"), "", (MappedTag("name", "Customer-Name", pii=True), MappedTag("hold", "Legal-Hold"))
)
ROW: dict[str, str | None] = {
    "recording_id": "r1", "ani": "tel:+15550100123", "dnis": "911", "user_ids": '["u1"]', "agent_names": '["Ann"]',
    "media_sha256": "a" * 64, "row_sha256": "b" * 64, "sidecar_sha256": "c" * 64, "custom_data_name": "Jo",
    "custom_data_hold": "true", "custom_data": '{"Customer-Name":"Jo","Legal-Hold":"true","SSN":"1"}',
    "custom_data_state": "present",
}  # fmt: skip


@pytest.mark.parametrize(
    ("mask", "replaced", "keys"),
    [
        (Mask(numbers="last4"), {"ani": "[…0123]", "dnis": WITHHELD}, set()),
        (Mask(numbers="withheld"), {"ani": WITHHELD, "dnis": WITHHELD}, set()),
        (Mask(agents="withheld"), {"user_ids": f'["{WITHHELD}"]', "agent_names": f'["{WITHHELD}"]'}, set()),
        # A tag that the mapping does not know may be personal data as well.
        (Mask(tags="pii"), {"custom_data_name": WITHHELD}, {"Customer-Name", "SSN"}),
        (Mask(tags=("legal hold",)), {"custom_data_hold": WITHHELD}, {"Legal-Hold"}),
        (Mask(tags="all"), {"custom_data_name": WITHHELD, "custom_data_hold": WITHHELD},
         {"Customer-Name", "SSN", "Legal-Hold"}),
    ],
)  # fmt: skip
def test_a_field_and_every_hash_of_it_are_withheld(mask: Mask, replaced: dict[str, str], keys: set[str]) -> None:
    found = shown(mask, MAPPING, ROW)
    assert found is not None
    changed = {name: value for name, value in found.row.items() if value != ROW[name] and value is not None}
    tags = json.loads(changed.pop("custom_data", "{}"))
    assert {key for key, value in tags.items() if value == WITHHELD} == keys
    assert changed == replaced
    assert {name for name, value in found.row.items() if value is None} == {"row_sha256", "sidecar_sha256"}
    assert set(found.record.row) == ROW.keys() - set(found.record.columns)
    assert {"row_sha256", "sidecar_sha256", *replaced} <= set(found.record.columns)


def test_a_tag_that_repeats_what_is_withheld_and_a_column_of_an_earlier_mapping_are_withheld() -> None:
    tags = {"Call-Back": "555 010-0123", "Note": "asked for ann, twice", "Other": "Anna, 0123"}
    row = ROW | {"custom_data": json.dumps(tags), "custom_data_hold": "(555) 0100123", "custom_data_ssn": "1"}
    for number in (row["ani"], "tel:+15550100123;ext=77@example.com"):
        found = shown(Mask(numbers="last4"), MAPPING, row | {"ani": number})
        assert found is not None
        assert found.row["ani"] == "[…0123]"
        assert json.loads(found.row["custom_data"] or "") == tags | {"Call-Back": WITHHELD}
        assert (found.row["custom_data_hold"], found.row["custom_data_ssn"]) == (WITHHELD, "1")
    found = shown(Mask(agents="withheld"), MAPPING, row)
    assert found is not None
    assert json.loads(found.row["custom_data"] or "") == tags | {"Note": WITHHELD}
    # An accented letter is written in two ways.
    row_of_jose = row | {"agent_names": '["Jos\u00e9"]', "custom_data": json.dumps({"Note": "asked for Jose\u0301"})}
    found = shown(Mask(agents="withheld"), MAPPING, row_of_jose)
    assert found is not None
    assert json.loads(found.row["custom_data"] or "") == {"Note": WITHHELD}
    for mask in (Mask(tags="pii"), Mask(tags=("Note",))):
        found = shown(mask, MAPPING, row)
        assert found is not None
        assert (found.row["custom_data_ssn"], "custom_data_ssn" in found.record.row) == (WITHHELD, False)


def test_a_tag_is_withheld_whole_if_one_column_of_it_is_marked() -> None:
    columns = (MappedTag("ssn", "Case", path="$.ssn", pii=True), MappedTag("case", "Case", path="$.id"))
    row = {"custom_data": '{"Case":"{ssn,id}"}', "custom_data_ssn": "1", "custom_data_case": "7"}
    found = shown(Mask(tags="pii"), TagMapping(Path("mapping.yaml"), "", columns), row)
    assert found is not None
    assert json.loads(found.row["custom_data"] or "") == {"Case": WITHHELD}
    assert (found.row["custom_data_ssn"], found.row["custom_data_case"]) == (WITHHELD, "7")


def test_a_list_withholds_every_key_of_a_tag_that_it_names_by_a_key_or_a_column() -> None:
    columns = (
        MappedTag("ssn", "SSN", aliases=("Social",), prefixes=("chat.",)),
        MappedTag("case_id", "Case", path="$.id"),
    )
    mapping = TagMapping(Path("mapping.yaml"), "", columns)
    tags = {"Case": "{id,name}", "Note": "n", "Social": "1", "chat.SSN": "1"}
    behind = {"context.Note", "Context.Note", "conversationDetails.participantData.Note"}
    tags |= dict.fromkeys(behind, "n")
    row = {"custom_data": json.dumps(tags), "custom_data_ssn": "1", "custom_data_case_id": "7"}
    for listed, keys, column in (
        ("ssn", {"Social", "chat.SSN"}, "custom_data_ssn"),
        ("Case ID", {"Case"}, "custom_data_case_id"),
        ("note", {"Note", *behind}, None),
    ):
        found = shown(Mask(tags=(listed,)), mapping, row)
        assert found is not None
        assert {key for key, value in json.loads(found.row["custom_data"] or "").items() if value == WITHHELD} == keys
        assert {name for name, value in found.row.items() if value == WITHHELD} == ({column} if column else set())
    # The mapping knows no more of a tag than what a path reaches.
    found = shown(Mask(tags="pii"), mapping, row)
    assert found is not None
    assert json.loads(found.row["custom_data"] or "")["Case"] == WITHHELD
    assert found.row["custom_data_case_id"] == "7"
    mask = Mask(tags=("Sumary", "note", "CASE-ID"))
    assert (unknown_keys(mask, mapping, ["Context.Note"]), unknown_keys(Mask(tags="pii"), mapping, [])) == (
        ("Sumary",),
        (),
    )


def test_a_record_without_anything_to_withhold_goes_out_whole() -> None:
    assert shown(Mask(numbers="withheld", agents="withheld", tags="all"), MAPPING, {"recording_id": "r1"}) is None
    assert shown(Mask(), MAPPING, ROW) is None


@pytest.fixture(scope="module")
def volume(night: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    ids = ", ".join(row["recording_id"] for row in night.whole()[:3])
    more = "mask: {numbers: last4, agents: withheld, tags: all}\nproduction: {conversations: as_received}"
    night.matter("masked", f"  ids: [{ids}]", more)
    folder = tmp_path_factory.mktemp("masked")
    told = CliRunner().invoke(app, ["matter", "produce", "masked", "--to", str(folder)])
    assert told.exit_code == 0, told.output
    assert "no documents of conversations" in told.stderr
    return folder / "VOL001"


def texts(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.suffix in (".xlsx", ".docx"):
            with zipfile.ZipFile(path) as archive:
                yield path, b"".join(archive.read(name) for name in archive.namelist())
        elif path.suffix == ".pdf":
            with pypdfium2.PdfDocument(path) as pdf:
                yield path, "".join(page.get_textpage().get_text_bounded() for page in pdf).encode()
        elif path.is_file() and path.parent.name != "audio":
            yield path, path.read_bytes()


def test_what_is_withheld_is_in_no_file(night: Published, volume: Path) -> None:
    secrets = {"_salt", load_matter(night.settings.home / "matters" / "masked.yaml").sha256}
    for row in night.whole()[:3]:
        secrets |= {str(row[name]) for name in ("ani", "dnis", "row_sha256", "sidecar_sha256") if row[name]}
        secrets |= {*row["user_ids"], *filter(None, row["agent_names"] or [])}
        # Short values are part of other words.
        secrets |= {value for value in json.loads(row["custom_data"]).values() if len(value) > 8}
    assert len(secrets) > 8
    found = [(path.name, secret) for path, data in texts(volume) for secret in secrets if secret.encode() in data]
    assert found == []
    assert {line["agent_ids"] for line in index(volume)} == {WITHHELD}
    assert all(line["caller_number"].startswith("[") for line in index(volume))
    assert not list((volume / "evidence/data/documents").iterdir())
    assert not (volume / "conversations").exists()


def test_a_masked_volume_is_checked_as_far_as_that_goes_and_a_commitment_can_be_opened(
    night: Published, volume: Path
) -> None:
    assert "verdict is therefore NOT VERIFIED" in " ".join((volume / "report.html").read_text().split())
    report = verify(night, volume)
    assert {finding.code for finding in report.findings if finding.kind.severity is not Severity.NOTE} == {
        "RECORD_MASKED"
    }
    assert report.status == 2
    line, *_ = index(volume)
    data = (volume / f"evidence/data/records/{line['control_number']}.tlog-commitment").read_bytes()
    prover = Prover(open_target(night.settings, "s3://dataset"), public_keys(night.settings, []))
    (opened,) = prover.each([line["recording_id"]])
    assert opened.leaf == read_commitment(data).leaf


def another_leaf(records: Path) -> None:
    first, second, *_ = sorted(records.glob("*.tlog-commitment"))
    lines = [path.read_bytes().split(b"\n", 2) for path in (first, second)]
    first.write_bytes(b"\n".join([lines[0][0], lines[1][1], lines[0][2]]))


def showing_what_is_withheld(records: Path) -> None:
    path = min(records.glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "ani": "+1"}))


@pytest.mark.parametrize(
    ("change", "code"), [(another_leaf, "PROOF_WRONG"), (showing_what_is_withheld, "PACKAGE_INCONSISTENT")]
)
def test_a_producer_who_signs_something_else_is_found_out(
    night: Published, volume: Path, tmp_path: Path, change: Callable[[Path], None], code: str
) -> None:
    folder = Path(shutil.copytree(volume, tmp_path / "VOL001"))
    change(folder / "evidence/data/records")
    signers = load_sealing(night.settings).signers
    sign_again(folder / "evidence", signers)
    list_production(folder)
    sign_production(folder, signers)
    report = verify(night, folder)
    assert (report.status, code in {finding.code for finding in report.findings}) == (1, True)


def test_a_masked_tag_that_no_night_has_is_named(night: Published) -> None:
    night.matter("misspelt", "  where: 1 = 1", "mask: {tags: [Sumary, legal_hold]}")
    told = CliRunner().invoke(app, ["matter", "show", "misspelt"]).stdout
    assert "Sumary: a masked tag that no collected night has" in told
    assert told.count("masked tag") == 1


def test_a_matter_that_masks_makes_no_package_of_whole_records(night: Published, tmp_path: Path) -> None:
    night.matter("unpacked", "  where: 1 = 1", "mask: {numbers: withheld}")
    told = CliRunner().invoke(app, ["package", "--matter", "unpacked", "--to", str(tmp_path / "p"), "--reason", "x"])
    assert (told.exit_code, (tmp_path / "p").exists()) == (2, False)


@pytest.mark.parametrize("action", ["held", "released", "packaged"])
def test_an_act_of_another_matter_is_told_without_anything_that_it_says_of_it(action: str) -> None:
    known = {"control_number", "occurred_at", "action", "who", "operator", "tool_version", "git_revision"}
    known |= {"conversation_id", "recording_id", "role", "nist_sp_800_86_phase", "iso_27037_process"}
    event: dict[str, object] = {**dict.fromkeys(CUSTODY_LOG, "theirs"), "action": action}
    for why, is_own in (("matter 4711: A", True), ("matter 4711: A, VOL001", True), ("matter 4711: A v. B", False)):
        event["sha256_after"] = "of VOL001" if is_own else "theirs"
        (told,) = of_one_matter([event | {"why": why}], "matter 4711: A", {"of VOL001"})
        if is_own:
            assert told == event | {"why": why}
        else:
            assert not {"theirs", why} & {str(told[name]) for name in CUSTODY_LOG if name not in known}


def test_another_request_in_the_same_case_is_another_matter() -> None:
    why = "matter 4711: Smith v. Acme"
    given: dict[str, object] = {
        "action": "packaged",
        "what": "VOL001, handed over to Roe LLP",
        "why": why,
        "where_at": "VOL001",
    }
    given |= {"how": "courier", "sha256_before": "of VOL001 of another request", "sha256_after": "a confirmation"}
    (told,) = of_one_matter([given], why, {"of VOL001"})
    assert (told["what"], told["how"]) == ("for another matter or request", WITHHELD)
    (told,) = of_one_matter([given | {"sha256_before": "of VOL001"}], why, {"of VOL001"})
    assert told["what"] == "VOL001, handed over to Roe LLP"
