"""Contact sheets: every face is in its place."""

from __future__ import annotations

import numpy as np
import pytest

from faceaug.errors import UsageError
from faceaug.report.contact_sheets import BAND_COLOUR, cell_sheet, pair_sheet
from faceaug.utils.images import Rgb


def plain(value: int, height: int = 20, width: int = 20) -> Rgb:
    return np.full((height, width, 3), value, np.uint8)


def test_a_cell_sheet_has_real_faces_above_the_band_and_synthetic_ones_below() -> None:
    sheet = cell_sheet([plain(10)] * 2, [plain(200)] * 5, side=10, columns=4)
    assert sheet.shape == (10 + 8 + 20, 40, 3)
    assert (sheet[:10, :20] == 10).all()
    assert (sheet[:10, 20:] == 255).all()  # the row is not full
    assert (sheet[10:18] == BAND_COLOUR).all()
    assert (sheet[18:28] == 200).all()
    assert (sheet[28:, :10] == 200).all()
    assert (sheet[28:, 10:] == 255).all()


def test_a_cell_sheet_keeps_proportions_and_needs_one_kind_only() -> None:
    assert cell_sheet([], [plain(3, 30, 20)] * 2, side=10, columns=4).shape == (15, 40, 3)
    assert cell_sheet([plain(3)], [], side=10, columns=4).shape == (10, 40, 3)
    with pytest.raises(UsageError, match="at least one face"):
        cell_sheet([], [])


def test_pairs_stand_one_above_the_other_in_separate_rows() -> None:
    wide = np.concatenate([plain(90, 20, 5), plain(10), plain(90, 20, 5)], axis=1)  # its margins are cropped
    sheet = pair_sheet([(wide, plain(200)), (plain(20), plain(210)), (plain(30), plain(220))], side=10, columns=2)
    assert sheet.shape == (2 * 20 + 8, 20, 3)
    assert (sheet[:10, :10] == 10).all()
    assert (sheet[:10, 10:] == 20).all()
    assert (sheet[10:20, :10] == 200).all()
    assert (sheet[10:20, 10:] == 210).all()
    assert (sheet[20:28] == BAND_COLOUR).all()
    assert (sheet[28:38, :10] == 30).all()
    assert (sheet[38:, :10] == 220).all()
    assert (sheet[28:, 10:] == 255).all()
    with pytest.raises(UsageError, match="at least one photograph"):
        pair_sheet([])
