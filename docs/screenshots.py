"""Take the screenshots of docs/images from a home of the demo: `make screenshots`.

Belongs here: which views, at which width, and keeping the files small. Does not: the views.

Needs Chromium, and `pip install -e '.[browser]'`. Where either is missing, one line says so and nothing is written.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

IMAGES = Path(__file__).with_name("images")
NIGHT, FIRST, SERIOUS = "2026-11-02", "2026-10-27", "2026-10-30"
DESKTOP, PHONE = (1280, 800), (390, 844)
LARGEST = 100_000
STARTS_WITHIN = 120
PATIENCE, DRAWN_WITHIN = 120_000, 6_000  # milliseconds
CUSTODY = [sys.executable, "-m", "custody_pipeline.cli"]


def main(home: Path) -> int:
    """Write every image. Exit status 2 if a browser or its driver is missing."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("no screenshots: Chromium is not installed", file=sys.stderr)
        return 2
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        print("no screenshots: pip install -e '.[browser]'", file=sys.stderr)
        return 2
    if not (home / "demo.json").exists():
        print(f"no screenshots: {home} is no demo; custody --home {home} demo --nights 7", file=sys.stderr)
        return 2
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        _reports(browser, home)
        _terminal(browser, home)
        with _dagster(home) as address:
            _dagster_views(browser, address)
        browser.close()
    return 0


def _reports(browser: Browser, home: Path) -> None:
    week = _run(home, "report", "--from", FIRST, "--to", NIGHT).splitlines()[0]
    with _page(browser, DESKTOP) as page:
        page.goto(f"file://{Path(week).absolute()}")
        _keep(page, "report.png")
    with _page(browser, PHONE, dark=True) as page:
        page.goto(f"file://{Path(week).absolute()}")
        _keep(page, "report-phone.png")
    with _page(browser, DESKTOP) as page:
        page.goto(f"file://{(home / 'matters/demo/report.html').absolute()}")
        _keep(page, "matter.png")


def _terminal(browser: Browser, home: Path) -> None:
    from rich.console import Console
    from rich.terminal_theme import MONOKAI
    from rich.text import Text

    for name, command in (("gaps", ("gaps", "--date", SERIOUS)), ("explain", ("explain", _recording(home)))):
        console = Console(record=True, width=80, file=StringIO())
        console.print(Text(f"$ custody {' '.join(command)}"))
        console.print(Text.from_ansi(_run(home, *command)))
        html = console.export_html(inline_styles=True, theme=MONOKAI)
        with _page(browser, (760, 640), dark=True) as page:
            page.set_content(html.replace("<body>", "<body style='background:#1c1c1c;color:#ddd;margin:14px'>"))
            page.add_style_tag(content="pre { font-size: 14px; margin: 0 } span { color: inherit }")
            _keep(page, f"{name}.png")


def _recording(home: Path) -> str:
    import orjson

    found = orjson.loads(_run(home, "gaps", "--date", SERIOUS, "--reason", "REQUIRED_TAG_MISSING", "--json"))
    return str(found[0]["recording_id"])


def _dagster_views(browser: Browser, address: str) -> None:
    with _page(browser, (1440, 560)) as page:
        page.goto(f"{address}/asset-groups", timeout=PATIENCE)
        page.get_by_text("analysts").first.wait_for(timeout=PATIENCE)
        page.get_by_text("Hide navigation").click()
        page.wait_for_timeout(DRAWN_WITHIN)
        _keep(page, "asset-graph.png")
    for asset, waited, name in (
        ("custody/chain_of_custody", "by custody_status", "materialization.png"),
        ("published/cut", "key fingerprint", "seal.png"),
    ):
        with _page(browser, (1280, 1200)) as page:
            page.goto(f"{address}/assets/{asset}?partition={NIGHT}&view=partitions", timeout=PATIENCE)
            page.get_by_text(waited).wait_for(timeout=PATIENCE)
            page.wait_for_timeout(DRAWN_WITHIN)
            _keep(page, name)


@contextmanager
def _dagster(home: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [*CUSTODY, "ui", "--home", str(home), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        ends = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                urllib.request.urlopen(f"{address}/server_info", timeout=5).close()
            except OSError:
                if server.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError("Dagster did not start; try custody ui") from None
                time.sleep(0.5)
            else:
                break
        yield address
    finally:
        server.terminate()
        server.wait(240)


@contextmanager
def _page(browser: Browser, size: tuple[int, int], *, dark: bool = False) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
    )
    try:
        yield context.new_page()
    finally:
        context.close()


def _keep(page: Page, name: str) -> None:
    """Save what is on the screen as a PNG of at most 100 kB: as many colours as fit."""
    from PIL import Image

    whole = Image.open(BytesIO(page.screenshot())).convert("RGB")
    for colours in (128, 64, 32, 16):
        kept = BytesIO()
        whole.quantize(colours).save(kept, "PNG", optimize=True)
        if len(kept.getvalue()) < LARGEST:
            break
    (IMAGES / name).write_bytes(kept.getvalue())
    print(f"{IMAGES / name}  {len(kept.getvalue()):,} bytes")


def _run(home: Path, *arguments: str) -> str:
    environment = {**os.environ, "COLUMNS": "80", "CUSTODY_HOME": str(home), "FORCE_COLOR": "1"}
    return subprocess.run(
        [*CUSTODY, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=False
    ).stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".custody").absolute()))
