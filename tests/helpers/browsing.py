"""A real browser for tests of pages: Chromium by Playwright, and the rules of axe-core where they are installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIZES, SCHEMES = {"wide": (1440, 900), "narrow": (390, 800)}, ("light", "dark")


def chromium() -> str | None:
    """Return the path of a Chromium: that of FACEAUG_CHROMIUM, or one of the system."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("FACEAUG_CHROMIUM") or next((path for name in names if (path := shutil.which(name))), None)


def axe_script() -> Path | None:
    """Return the file axe.min.js of axe-core: that of FACEAUG_AXE, or one in node_modules of the checkout."""
    root = Path(__file__).resolve().parents[2]
    candidates = [Path(os.environ["FACEAUG_AXE"])] if "FACEAUG_AXE" in os.environ else []
    return next((p for p in (*candidates, root / "node_modules/axe-core/axe.min.js") if p.is_file()), None)


@contextmanager
def opened(browser: Any, address: str, size: str = "wide", scheme: str = "light") -> Iterator[Any]:
    """Open a page, and check at the end that it logged no error, asked no network, and is no wider than the window."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page, errors, requests = context.new_page(), [], []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(f"a script ran: {dialog.message}"))
    page.on("request", lambda request: requests.append(request.url))
    page.set_default_timeout(60_000)
    page.goto(address)
    try:
        yield page
        assert errors == []
        if address.startswith("file:"):
            assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        context.close()


def accessibility_faults(page: Any) -> list[str]:
    """Return what axe-core finds wrong with a page: the rule, what it asks for, and the first element."""
    script = axe_script()
    assert script is not None
    page.evaluate(script.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(results => results.violations)")
    return [f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]}" for each in found]
