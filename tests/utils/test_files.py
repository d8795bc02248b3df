"""Whether a place can be written is told before, and for every name that a file system takes."""

from __future__ import annotations

import pytest

from faceaug.errors import OutputError
from faceaug.utils.files import check_writable, check_writable_folder, require_empty

LONGEST = 255  # bytes of a name


@pytest.mark.parametrize("length", [242, LONGEST])
def test_a_folder_may_have_the_longest_name(tmp_path, length):
    folder = tmp_path / ("x" * length)
    folder.mkdir()
    check_writable_folder(folder)
    assert not any(folder.iterdir())


@pytest.mark.parametrize("check", [check_writable, check_writable_folder, require_empty])
def test_a_name_that_is_too_long_is_refused(tmp_path, check):
    with pytest.raises(OutputError, match=r"could not be written \(File name too long\)"):
        check(tmp_path / ("x" * (LONGEST + 1)))
