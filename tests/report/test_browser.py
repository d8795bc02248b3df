"""The report in a real browser: faces, filters, the view of one face and its keys, at two widths, dark and light."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsing import SCHEMES, SIZES, accessibility_faults, axe_script, opened
from shard_samples import CELLS, cells, header, sample
from shard_samples import plan as planned

from faceaug.datasets.dataset import load_dataset
from faceaug.report.build import build_report
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.refused import REFUSED_NAME, RefusedPicture, write_refused
from faceaug.shards.run_state import CellState
from faceaug.utils.images import encode

pytestmark = pytest.mark.slow
HOSTILE = "<script>alert(1)</script>"


def renamed(value: Any) -> Any:
    """Return JSON values with one level made hostile."""
    if isinstance(value, dict):
        return {key: renamed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [renamed(each) for each in value]
    return HOSTILE if value == CELLS[1] else value


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report of 60 samples whose labels, reasons and file names are hostile."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "faces").mkdir()
    names = [f"<script>alert({k})<.png" for k in range(8)]
    for k, name in enumerate(names):
        image = np.full((24, 24, 3), 20 * k, np.uint8)
        image[:, :12] += 10
        (folder / "faces" / name).write_bytes(encode(image, "png"))
    pd.DataFrame({"file": names, "gender": ["female", HOSTILE] * 4}).to_csv(folder / "labels.csv", index=False)
    columns = [
        c.model_copy(update={"levels": ("female", HOSTILE)}) if c.name == "gender" else c for c in header().columns
    ]
    records = [c.model_copy(update={"attributes": renamed(c.attributes)}) for c in cells()]
    with OutputFolder.open(folder / "out", "f" * 64) as output:
        output.begin(header(columns=tuple(columns)), records, renamed(planned()))
        samples = [sample(k, attr={"gender": ("female", HOSTILE)[k % 2], "age": 20.0 + k}) for k in range(60)]
        output.append(samples, {0: CellState({HOSTILE: 9, "plausible": 3})})
        picture = encode(np.full((24, 24, 3), 99, np.uint8), "webp")
        write_refused(folder / "out", [RefusedPicture(0, 3, HOSTILE, False, picture)])
        output.finish(files=[REFUSED_NAME])
    dataset = load_dataset(folder / "faces", folder / "labels.csv")
    return build_report(folder / "out", dataset).as_uri()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_report_shows_faces_and_where_each_comes_from(browser: Any, address: str, size: str, scheme: str) -> None:
    with opened(browser, address, size, scheme) as page:
        assert page.locator(".cell-faces").count() == 2
        assert HOSTILE in page.locator(".cell-faces h3").nth(1).inner_text()
        page.get_by_role("button", name="Show all 30").first.click()
        assert page.locator(".cell-faces").first.locator("button.thumb").count() == 30
        page.locator("button.thumb").nth(1).click()
        dialog = page.get_by_role("dialog")
        for words in ("What was asked for", "Nearest real faces", "plausibility", "at most 1", "2 of 30"):
            assert words in dialog.inner_text(), words
        assert "<script>alert(" in dialog.inner_text()  # of a real face beside it
        page.keyboard.press("ArrowRight")
        assert "3 of 30" in dialog.inner_text()
        page.keyboard.press("Escape")
        assert not dialog.is_visible()
        assert page.evaluate("document.activeElement.className") == "thumb"


def test_faces_are_filtered_and_put_in_order(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        page.get_by_label("engine").select_option(label="rerender")
        assert "12 of 60" in page.get_by_role("status").inner_text()
        page.get_by_label("engine").select_option("")
        page.get_by_label("plausibility, at most").fill("1")
        assert "0 of 60" in page.get_by_role("status").inner_text()
        page.get_by_label("plausibility, at most").fill("")
        page.get_by_label("order").select_option(label="age, highest first")
        page.get_by_label("cell", exact=True).select_option(label="gender=female")
        page.locator("button.thumb").first.click()
        assert "78" in page.get_by_role("dialog").inner_text()  # the oldest of this cell


def test_refused_pictures_appear_under_their_reason(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        reason = page.locator("details.reason").first
        reason.locator("summary").click()
        reason.locator(".thumbs .thumb").wait_for()  # drawn by the event `toggle`, which the browser sends later
        assert reason.locator(".thumbs .thumb").count() == 1
        assert HOSTILE in reason.inner_text()
        page.get_by_text("All numbers of the cells as a table").click()
        page.get_by_role("button", name="real", exact=True).click()
        first = page.locator("table.sortable").first.locator("tbody tr").first
        assert HOSTILE in first.inner_text()  # 40 real ones, and 50 in the other cell


@pytest.mark.skipif(axe_script() is None, reason="axe-core was not found; name its axe.min.js in FACEAUG_AXE")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_report_keeps_the_rules_of_accessibility(browser: Any, address: str, scheme: str) -> None:
    with opened(browser, address, "wide", scheme) as page:
        assert accessibility_faults(page) == []
        page.locator("button.thumb").first.click()
        assert accessibility_faults(page) == []
