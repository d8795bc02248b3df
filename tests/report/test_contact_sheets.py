"""Pictures: every face lands where it belongs, and rows are as long as groups are large."""

from __future__ import annotations

import numpy as np
import pytest

from faceaug.errors import UsageError
from faceaug.report.contact_sheets import BAND, SheetRow, before_after, cell_sheet, pair_sheet
from faceaug.utils.images import Rgb


def plain(value: int, height: int = 20, width: int = 20) -> Rgb:
    return np.full((height, width, 3), value, np.uint8)


def test_a_cell_sheet_has_real_faces_above_the_band_and_made_ones_below() -> None:
    sheet = cell_sheet([plain(10)] * 2, [plain(200)] * 5, side=10, columns=4)
    assert sheet.shape == (10 + 8 + 20, 40, 3)
    assert (sheet[:10, :20] == 10).all()
    assert (sheet[:10, 20:] == 255).all()  # the row is not full
    assert (sheet[10:18] == BAND).all()
    assert (sheet[18:28] == 200).all()
    assert (sheet[28:, :10] == 200).all()
    assert (sheet[28:, 10:] == 255).all()


def test_a_cell_sheet_keeps_proportions_and_does_with_one_kind() -> None:
    assert cell_sheet([], [plain(3, 30, 20)] * 2, side=10, columns=4).shape == (15, 40, 3)
    assert cell_sheet([plain(3)], [], side=10, columns=4).shape == (10, 40, 3)
    with pytest.raises(UsageError, match="no faces"):
        cell_sheet([], [])


def test_pairs_stand_one_above_the_other_in_rows_set_apart() -> None:
    wide = np.concatenate([plain(90, 20, 5), plain(10), plain(90, 20, 5)], axis=1)  # its margins are cut away
    sheet = pair_sheet([(wide, plain(200)), (plain(20), plain(210)), (plain(30), plain(220))], side=10, columns=2)
    assert sheet.shape == (2 * 20 + 8, 20, 3)
    assert (sheet[:10, :10] == 10).all()
    assert (sheet[:10, 10:] == 20).all()
    assert (sheet[10:20, :10] == 200).all()
    assert (sheet[10:20, 10:] == 210).all()
    assert (sheet[20:28] == BAND).all()
    assert (sheet[28:38, :10] == 30).all()
    assert (sheet[38:, :10] == 220).all()
    assert (sheet[28:, 10:] == 255).all()
    with pytest.raises(UsageError, match="no pairs"):
        pair_sheet([])


def test_before_after_shows_as_many_faces_as_counts_say() -> None:
    red, green = np.array([250, 10, 10], np.uint8), np.array([10, 250, 10], np.uint8)
    real, made = np.tile(red, (8, 8, 1)), np.tile(green, (8, 8, 1))
    groups = [SheetRow("many", [real] * 20, [made] * 20, 900, 100), SheetRow("few", [real] * 20, [made] * 20, 100, 500)]
    picture = before_after(groups, side=20, longest=10, title="Faces")
    area = 20 * 20
    # Before: 9 + 1 real; after the same and 1 + 5 made.
    assert (picture == red).all(axis=2).sum() == 2 * (9 + 1) * area
    assert (picture == green).all(axis=2).sum() == (1 + 5) * area
    assert np.array_equal(picture, before_after(groups, side=20, longest=10, title="Faces"))
    with pytest.raises(UsageError, match="no faces"):
        before_after([SheetRow("none", [], [], 0, 0)])
