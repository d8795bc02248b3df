"""Files are read without resolving their paths, and links are treated as if they were resolved."""

from __future__ import annotations

from pathlib import Path

import pytest

from faceaug.datasets.image_tree import HEAD_BYTES, FolderImages
from faceaug.errors import ImageError


def test_links_are_followed_inside_of_the_folder_only(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "a", outside):
        folder.mkdir(parents=True)
        (folder / "x.jpg").write_bytes(folder.name.encode())
    (root / "linked").symlink_to(root / "a")
    (root / "file.jpg").symlink_to(root / "a" / "x.jpg")
    (root / "away").symlink_to(outside)
    (root / "away.jpg").symlink_to(outside / "x.jpg")
    images = FolderImages(root)
    assert {images.read(key) for key in ("a/x.jpg", "linked/x.jpg", "file.jpg", "a/../a/x.jpg")} == {b"a"}
    for key in ("away/x.jpg", "away.jpg", "../outside/x.jpg", "a/missing.jpg", "a", "", f"{outside}/x.jpg"):
        for read in (images.read, images.head):
            with pytest.raises(ImageError):
                read(key)


def test_the_head_of_a_large_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(bytes(HEAD_BYTES + 10))
    assert len(FolderImages(tmp_path).head("x.jpg")) == HEAD_BYTES
    assert len(FolderImages(tmp_path).read("x.jpg")) == HEAD_BYTES + 10
