"""The pages of the explorer in a real browser, on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from browsing import SIZES, accessibility_faults, axe_script, opened
from explorers import served
from faces_in_memory import Images
from shard_samples import write_output

from faceaug.datasets import FaceDataset
from faceaug.explorer.cells import DatasetCells, OutputCells
from faceaug.explorer.saving import SaveFolder

pytestmark = pytest.mark.slow
SETTLED = "body[data-settled=true]"
HOSTILE = "<script>document.title='hacked'</script>"


def assert_accessible(page) -> None:
    """Fail where axe-core finds a fault; where it is not installed, nothing is checked."""
    if axe_script():
        assert accessibility_faults(page) == []


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


@pytest.mark.parametrize("size", SIZES)
def test_a_slider_moves_the_face_and_undo_brings_it_back(browser, address, size, save_folder):
    with opened(browser, address + "face.html", size, "dark" if size == "narrow" else "light") as page:
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
        page.fill("#save-name", f"turned-{size}.png")
        page.click("#save button")
        page.wait_for_selector("#message:not([hidden])")
        assert (save_folder / f"turned-{size}.png").is_file()
        assert_accessible(page)


@pytest.mark.parametrize("size", SIZES)
def test_a_photograph_is_turned_and_mixed(browser, address, size, demo_files, tmp_path):
    hostile = tmp_path / "<b>face.jpg"
    hostile.write_bytes(Path(demo_files[0]).read_bytes())
    with opened(browser, address + "photograph.html", size) as page:
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
        assert_accessible(page)


@pytest.mark.parametrize("size", SIZES)
def test_a_plan_is_drawn_while_its_limit_is_dragged(browser, address, size):
    with opened(browser, address + "dataset.html", size) as page:
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


def test_labels_and_file_names_are_text(browser, tmp_path):
    images = Images()
    table = pd.DataFrame({"key": [str(k) for k in range(6)], HOSTILE: [HOSTILE, "b"] * 3})
    dataset = FaceDataset(HOSTILE, "folder", "memory", table, images)
    cells = DatasetCells(dataset, HOSTILE, {"path": HOSTILE})
    with served(saved=SaveFolder(tmp_path), dataset=cells) as url, opened(browser, url + "dataset.html") as page:
        page.wait_for_selector(".cell")
        page.locator(".cell").first.click()
        page.wait_for_selector(".face img")
        page.locator(".face").first.click()
        assert HOSTILE in page.text_content("dialog[open]")
        assert page.text_content("h1") == HOSTILE
        assert page.title() != "hacked"


def test_an_output_folder_opens_to_its_samples(browser, tmp_path):
    output = OutputCells.read(write_output(tmp_path / "out"))
    with served(saved=SaveFolder(tmp_path), output=output) as url, opened(browser, url) as page:
        page.wait_for_selector(".cell")
        assert page.locator(".cell").count() == len(output.manifest.cells)
        page.locator(".cell").first.click()
        page.wait_for_selector(".face img")
        page.locator(".face").first.click()
        assert "seed" in page.text_content("dialog[open]")
        assert_accessible(page)
