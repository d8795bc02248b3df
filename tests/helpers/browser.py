"""A headless Chromium for tests of pages. They skip, and say why, where it or Playwright is not installed.

Where FACEAUG_AXE names a file of axe-core (axe.min.js), pages are checked for accessibility as well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = os.environ.get("FACEAUG_AXE")
SIZES = {1440: 900, 390: 844}
"""Widths at which pages are tested, with their heights."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser of Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Any, address: str, width: int, scheme: str = "light") -> Iterator[Any]:
    """Yield a page at an address; afterwards, fail where its console had an error or it asked another host."""
    context = chromium.new_context(viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    home = address.split("/")[2]  # "" of a file
    page.on("request", lambda sent: None if _is_local(sent.url, home) else errors.append(f"asked for {sent.url}"))
    try:
        page.goto(address)
        yield page
        assert errors == []
    finally:
        context.close()


def assert_fits(page: Any) -> None:
    """Fail where a page is wider than the window."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def assert_accessible(page: Any) -> None:
    """Fail where axe-core finds a violation; does nothing where FACEAUG_AXE is not set."""
    if AXE:
        page.evaluate(Path(AXE).read_text("utf-8"))
        found = page.evaluate("axe.run().then((result) => result.violations)")
        assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in found] == []


def _is_local(url: str, home: str) -> bool:
    return url.startswith(("data:", "blob:", "file:")) or (bool(home) and url.split("/")[2] == home)
