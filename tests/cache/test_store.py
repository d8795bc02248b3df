"""The cache: values come back as they were, and whatever is wrong with it costs one warning and no more."""

from __future__ import annotations

import json
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from forked import run_forked

from faceaug.cache import key as key_module
from faceaug.cache import store
from faceaug.cache.arrays import cached_arrays, keep_files, restore_files
from faceaug.cache.key import CacheKey, array_sha256
from faceaug.cache.store import Cache, open_cache
from faceaug.errors import OutputError, UsageError

KEY, OTHER = CacheKey("features", {"pictures": "a"}), CacheKey("fits", {"pictures": "a"})
ITEMS = {"one": b"\x00\xff" * 100, "two": b"", "three": b"abc"}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def test_a_value_comes_back_byte_for_byte(cache):
    assert cache.read(KEY) is None
    cache.write(KEY, ITEMS)
    assert cache.read(KEY) == ITEMS
    assert list(cache.read(KEY)) == list(ITEMS)  # files are written in their order
    assert cache.read(OTHER) is None
    assert Cache(cache.folder).read(KEY) == ITEMS


def test_the_key_decides_by_content_settings_and_environment(monkeypatch):
    same = CacheKey("features", {"pictures": "a"})
    assert same.digest == KEY.digest
    assert CacheKey("features", {"pictures": "b"}).digest != KEY.digest
    assert OTHER.digest != KEY.digest
    key_module.computing_environment.cache_clear()
    monkeypatch.setattr(key_module, "__version__", "0.0.0")
    try:
        assert CacheKey("features", {"pictures": "a"}).digest != KEY.digest
    finally:
        key_module.computing_environment.cache_clear()


def test_arrays_are_hashed_with_type_and_shape():
    array = np.arange(6, dtype=np.int32)
    hashes = [array_sha256(a) for a in (array, array.reshape(2, 3), array.astype(np.uint32), array[::-1])]
    assert len(set(hashes)) == 4
    assert array_sha256(array[::-1]) == array_sha256(array[::-1].copy())
    assert array_sha256(np.empty((0, 3))) == array_sha256(np.empty((0, 3)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:30],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"\xff" * len(data),
        lambda data: data.replace(b'"items"', b'"itens"'),
        lambda data: data.replace(b"{", b"[", 1),
    ],
)
def test_a_damaged_entry_is_made_again(cache, damage):
    cache.write(KEY, ITEMS)
    (entry,) = cache.entries()
    entry.path.write_bytes(damage(entry.path.read_bytes()))
    assert cache.read(KEY) is None
    assert not entry.path.exists()
    cache.write(KEY, ITEMS)
    assert cache.read(KEY) == ITEMS


def test_an_entry_under_another_name_is_not_taken(cache):
    cache.write(KEY, ITEMS)
    (entry,) = cache.entries()
    stranger = CacheKey("features", {"pictures": "z"})
    entry.path.rename(entry.path.with_name(stranger.digest + ".entry"))
    assert cache.read(stranger) is None


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    cache = Cache(tmp_path, max_bytes=3500)
    keys = [CacheKey("features", {"number": number}) for number in range(4)]
    for age, key in zip((300, 200, 100), keys, strict=False):
        cache.write(key, {"x": bytes(900)})
        path = tmp_path / "features" / f"{key.digest}.entry"
        os.utime(path, (time.time() - age,) * 2)
    assert cache.read(keys[0]) is not None  # which makes it the one that was used last
    cache.write(keys[3], {"x": bytes(900)})
    assert [cache.read(key) is not None for key in keys] == [True, False, True, True]
    cache.write(keys[1], {"x": bytes(4000)})
    assert cache.read(keys[1]) is None  # it is larger than all may be
    assert sum(entry.size for entry in cache.entries()) <= 3500


def warnings_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_full_disk_gives_one_warning(cache, caplog, monkeypatch):
    def full(path):
        raise OutputError("full") from OSError(28, "No space left on device")

    monkeypatch.setattr(store, "atomic", full)
    for _ in range(3):
        cache.write(KEY, ITEMS)
        assert cache.read(KEY) is None
    (warning,) = warnings_of(caplog)
    assert "cannot be written (No space left on device): nothing is cached" in warning
    assert "FACEAUG_CACHE" in warning


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"faceaug-cache.json": json.dumps({"format": "faceaug-cache", "version": 9})}, "version 9"),
        ({"faceaug-cache.json": "{"}, "format None"),
        ({"letter.txt": "mine"}, "holds other files"),
    ],
)
def test_a_folder_of_another_kind_is_left_alone(tmp_path, caplog, content, reason):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    cache = Cache(tmp_path)
    cache.write(KEY, ITEMS)
    assert cache.read(KEY) is None
    assert cache.clear() == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == content
    (warning,) = warnings_of(caplog)
    assert reason in warning


def test_a_file_in_its_place_gives_one_warning(tmp_path, caplog):
    (tmp_path / "cache").write_text("")
    cache = Cache(tmp_path / "cache")
    cache.write(KEY, ITEMS)
    cache.write(OTHER, ITEMS)
    assert len(warnings_of(caplog)) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="a superuser may write everywhere")
def test_a_folder_that_cannot_be_written_gives_one_warning(cache, caplog):
    cache.write(KEY, ITEMS)
    for folder in (cache.folder / "features", cache.folder):
        folder.chmod(0o500)
    try:
        again = Cache(cache.folder)
        assert again.read(KEY) == ITEMS
        again.write(OTHER, ITEMS)
        assert len(warnings_of(caplog)) == 1
    finally:
        for folder in (cache.folder, cache.folder / "features"):
            folder.chmod(0o700)


def test_clearing_removes_entries_and_leftovers_alone(cache):
    for key in (KEY, OTHER):
        cache.write(key, ITEMS)
    (cache.folder / "mine.txt").write_text("")
    (cache.folder / "fits" / f".{OTHER.digest}.entry.x1.tmp").write_text("")
    assert [entry.kind for entry in cache.clear("features")] == ["features"]
    assert cache.read(OTHER) == ITEMS
    assert len(cache.clear()) == 1
    assert sorted(path.name for path in cache.folder.rglob("*") if path.is_file()) == ["faceaug-cache.json", "mine.txt"]


WRITER = """
import sys
from pathlib import Path
from faceaug.cache.key import CacheKey
from faceaug.cache.store import Cache
cache = Cache(Path(sys.argv[1]), max_bytes=40_000)
for turn in range(30):
    for number in range(6):
        key = CacheKey("features", {"number": number})
        items = cache.read(key)
        assert items is None or items == {"x": bytes([number]) * 8000}
        cache.write(key, {"x": bytes([number]) * 8000})
"""


@pytest.mark.slow
def test_two_processes_may_write_at_a_time(tmp_path):
    def run(_):
        return run_forked(WRITER, tmp_path / "cache")

    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(run, range(2)):
            assert (done.returncode, done.stderr) == (0, "")
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_a_folder_that_another_process_is_making_a_cache_of_is_one(cache, tmp_path, monkeypatch, caplog):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ".faceaug-cache.json.x1.tmp").write_text("{")  # its marker is being written
    assert Cache(tmp_path / "cache").enabled
    listed = Path.iterdir

    def iterdir(folder):
        cache.write(KEY, ITEMS)  # the other process writes its first value between the list and the question
        return listed(folder)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", iterdir)
        assert Cache(tmp_path / "cache").read(KEY) == ITEMS
    assert not warnings_of(caplog)


def test_the_environment_names_folder_and_size(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("FACEAUG_CACHE_GB", "0.5")
    assert (open_cache().folder, open_cache().max_bytes) == (tmp_path / "own", 500_000_000)
    assert open_cache() is open_cache()
    monkeypatch.setenv("FACEAUG_CACHE", "off")
    assert not open_cache().enabled
    monkeypatch.delenv("FACEAUG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = open_cache().folder
    assert folder is not None
    assert "faceaug" in folder.parts
    for size in ("much", "0", "-1", "nan"):
        monkeypatch.setenv("FACEAUG_CACHE_GB", size)
        with pytest.raises(UsageError, match="FACEAUG_CACHE_GB"):
            open_cache()


def test_tests_do_not_use_the_cache_of_the_user():
    assert not open_cache().enabled


def test_arrays_are_computed_once_and_come_back_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path))
    arrays = {
        "half": np.array([[1.5, np.nan], [-0.0, np.inf]], np.float16),
        "big": np.array([2**64 - 1], np.uint64),
        "none": np.empty((0, 4), np.float32),
        "turned": np.arange(6.0).reshape(2, 3).T,
    }
    for _ in range(2):
        found = cached_arrays(KEY, lambda: arrays)
        arrays_are_equal(found, arrays)
    arrays_are_equal(cached_arrays(KEY, lambda: pytest.fail("it was computed already")), arrays)
    monkeypatch.setenv("FACEAUG_CACHE", "off")
    assert cached_arrays(KEY, dict) == {}


def arrays_are_equal(found, arrays):
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == np.ascontiguousarray(array).tobytes()


def test_files_are_kept_and_restored(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path / "cache"))
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (one / "a.bin").write_bytes(b"\x01")
    assert not restore_files(KEY, two, ["a.bin"])
    keep_files(KEY, one, ["a.bin", "absent.bin"])
    assert restore_files(KEY, two, ["a.bin"])
    assert [(path.name, path.read_bytes()) for path in two.iterdir()] == [("a.bin", b"\x01")]


@pytest.mark.parametrize("name", ["../stray.bin", "/tmp/stray.bin", "other.bin"])
def test_files_of_other_names_are_not_restored(tmp_path, monkeypatch, name):
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "models"
    folder.mkdir()
    open_cache().write(KEY, {name: b"\x01"})
    assert not restore_files(KEY, folder, ["a.bin"])
    assert not any(folder.iterdir())
    assert not (tmp_path / "stray.bin").exists()
