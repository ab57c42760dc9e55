"""The pages for people in a real browser: axe-core finds nothing, and nothing is cut off on a phone or a desktop."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from custody_pipeline_tests.matters.conftest import Published

pytestmark = pytest.mark.server

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZES = ((390, 844), (1280, 800))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_reports_are_accessible_at_phone_and_desktop_widths_dark_and_light(night: Published, tmp_path: Path) -> None:
    driver = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
    )
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    from typer.testing import CliRunner

    from custody_pipeline.cli.main import app

    night.matter("page", "  tags: [Legal-Hold = true]")
    told = CliRunner().invoke(app, ["matter", "report", "page", "--to", str(tmp_path / "matter.html")])
    assert told.exit_code == 0, told.output
    pages = [tmp_path / "matter.html", night.settings.home / "reports/2026-11-02/report.html", tmp_path / "long.html"]
    pages[2].write_text(pages[1].read_text().replace("</h1>", f" {'x' * 400}</h1>"))
    wrong = []
    with driver.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path in pages:
            for width, height in SIZES:
                for scheme in ("light", "dark"):
                    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                    page.goto(path.as_uri())
                    found = axe.run(page).response["violations"]
                    wrong += [(path.name, width, scheme, one["id"], one["nodes"][0]["html"]) for one in found]
                    if page.evaluate("document.documentElement.scrollWidth") > width:
                        wrong.append((path.name, width, scheme, "scrolls sideways", ""))
                    if page.evaluate(
                        "[...document.querySelectorAll('.d')].some(one => one.getClientRects().length > 1)"
                    ):
                        wrong.append((path.name, width, scheme, "a date breaks inside", ""))
                    page.close()
        browser.close()
    assert wrong == []
