"""The commands of docs/matters.md, one after the other, as a person follows the page."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from custody_pipeline.cli.main import app
from custody_pipeline_tests.matters.conftest import Published

pytestmark = pytest.mark.server

PAGE = Path(__file__).parents[2] / "docs/matters.md"
# The night may still grow, and the bucket of the export has no Object Lock; everything else ends well.
STATUS = {"custody matter show smith": 1, "custody matter hold smith --apply": 1}
COLLECTS = "custody matter gather smith"


@pytest.mark.skipif(not PAGE.exists(), reason="not a checkout")
def test_a_person_who_follows_the_page_comes_to_a_production_that_verifies(
    night: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = night.whole()
    Path("request.csv").write_text("conversation_id\n" + "".join(f"{row['conversation_id']}\n" for row in rows))
    Path("signed.pdf").write_bytes(b"signed")
    (key,) = (night.settings.home / "keys").glob("*.pub")
    shutil.copyfile(key, "key.pub")
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line]
    assert len(commands) > 12
    for command in commands:
        if command == COLLECTS:  # it runs whole nights; its parts are tested where nights are
            continue
        if command.startswith("export "):
            name, _, value = shlex.split(command)[1].partition("=")
            monkeypatch.setenv(name, value)
            continue
        arguments = shlex.split(command.replace("CONVERSATION_ID", rows[0]["conversation_id"]))[1:]
        told = CliRunner().invoke(app, arguments)
        assert told.exit_code == STATUS.get(command, 0), f"{command}: {told.output} {told.exception}"
        if "matter" in arguments and "produce" in arguments:
            assert "a login" not in told.stderr
    volume = tmp_path / "smith-productions/VOL001"
    sha256 = hashlib.sha256(Path("request.csv").read_bytes()).hexdigest()
    for page in ("report.html", "certificate.html"):
        assert sha256 in (volume / page).read_text()
    (listed,) = json.loads((volume / "production.json").read_text())["lists"]
    assert (listed["file"], listed["what"], listed["sha256"]) == ("request.csv", "selected", sha256)
    with (volume / "custody-log.csv").open(encoding="utf-8-sig", newline="") as file:
        held = [row for row in csv.DictReader(file) if row["action"] == "held" and "4711" in row["why"]]
    assert {(row["operator"], row["role"]) for row in held} == {("Jane Roe, paralegal", "paralegal")}
