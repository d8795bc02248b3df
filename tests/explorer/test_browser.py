"""The pages of the explorer in a real browser, on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from browser import SIZES, assert_accessible, assert_fits, opened
from explorers import served
from faces_in_memory import Images

from faceaug.datasets import FaceDataset
from faceaug.explorer.cells import DatasetCells
from faceaug.explorer.saving import SaveFolder

pytestmark = pytest.mark.slow
SETTLED = "body[data-settled=true]"
HOSTILE = "<script>document.title='hacked'</script>"


def move(page, name: str, value: float) -> None:
    """Move a slider as a hand does: several values, then it is let go."""
    page.locator(f"#slider-{name}").evaluate(
        """(slider, value) => {
            slider.value = value;
            slider.dispatchEvent(new Event("input"));
            slider.dispatchEvent(new Event("change"));
        }""",
        value,
    )
    page.wait_for_selector(SETTLED)


@pytest.mark.parametrize("width", SIZES)
def test_a_slider_moves_the_face_and_undo_brings_it_back(chromium, address, width, save_folder):
    with opened(chromium, address + "face.html", width, "dark" if width == 390 else "light") as page:
        page.wait_for_selector(SETTLED)
        before = page.get_attribute("#after", "src")
        move(page, "yaw", 20)
        turned = page.get_attribute("#after", "src")
        assert turned != before
        assert "measured" in page.text_content(".slider[data-name=yaw] output")
        page.keyboard.press("Control+z")
        page.wait_for_function("before => document.getElementById('after').src === before", arg=before)
        page.click("#redo")
        page.wait_for_function("turned => document.getElementById('after').src === turned", arg=turned)
        page.fill("#save-name", f"turned-{width}.png")
        page.click("#save button")
        page.wait_for_selector("#message:not([hidden])")
        assert (save_folder / f"turned-{width}.png").is_file()
        assert_fits(page)
        assert_accessible(page)


@pytest.mark.parametrize("width", SIZES)
def test_a_photograph_is_turned_and_mixed(chromium, address, width, demo_files, tmp_path):
    hostile = tmp_path / "<b>face.jpg"
    hostile.write_bytes(Path(demo_files[0]).read_bytes())
    with opened(chromium, address + "photograph.html", width) as page:
        page.set_input_files("#file", hostile)
        page.wait_for_selector(SETTLED)
        assert page.get_attribute("#before", "alt").startswith("<b>face.jpg")
        before = page.get_attribute("#after", "src")
        page.keyboard.press("Tab")
        page.focus("#slider-roll")
        page.keyboard.press("ArrowRight")
        page.wait_for_function("before => document.getElementById('after').src !== before", arg=before)
        page.set_input_files("#other-file", demo_files[1])
        page.wait_for_selector("#other:not([hidden])")
        page.wait_for_selector(SETTLED)
        assert "mixed" in page.get_attribute("#after", "alt")
        assert_fits(page)
        assert_accessible(page)


@pytest.mark.parametrize("width", SIZES)
def test_a_plan_is_drawn_while_its_limit_is_dragged(chromium, address, width):
    with opened(chromium, address + "dataset.html", width) as page:
        page.wait_for_selector(".cell")
        assert "2,000 planned of 2,000 wanted" in page.text_content("#totals")
        limit = page.locator("[data-limit=max_total]")
        limit.locator("[type=checkbox]").check()
        limit.locator("[type=range]").evaluate(
            "range => { range.value = 300; range.dispatchEvent(new Event('input')); }"
        )
        page.wait_for_function("() => document.getElementById('totals').textContent.includes(' 300 planned')")
        page.locator(".cell").first.click()
        page.wait_for_selector(".face img")
        page.locator(".face").first.click()
        assert page.locator("dialog[open] dd").count() >= 2
        assert_accessible(page)
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0
        assert_fits(page)


def test_labels_and_file_names_are_text(chromium, tmp_path):
    images = Images()
    table = pd.DataFrame({"key": [str(k) for k in range(6)], HOSTILE: [HOSTILE, "b"] * 3})
    dataset = FaceDataset(HOSTILE, "folder", "memory", table, images)
    cells = DatasetCells(dataset, HOSTILE, {"path": HOSTILE})
    with served(saved=SaveFolder(tmp_path), dataset=cells) as url, opened(chromium, url + "dataset.html", 1440) as page:
        page.wait_for_selector(".cell")
        page.locator(".cell").first.click()
        page.wait_for_selector(".face img")
        page.locator(".face").first.click()
        assert HOSTILE in page.text_content("dialog[open]")
        assert page.text_content("h1") == HOSTILE
        assert page.title() != "hacked"
