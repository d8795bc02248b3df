"""No output names a folder, the user or the host of the machine that wrote it."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import h5py
import pandas as pd
import pytest
from cheap_runs import start_balance, write_faces
from command_line import IN_PROCESS
from PIL import Image

OWNER = "owner-of-the-camera"
LEAST = 4  # letters of a name that is looked for: shorter ones occur by chance


def texts(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what every file says: its bytes, and what they hold compressed."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        yield name, name.encode() + path.read_bytes()
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            yield name, repr([frame.attrs, frame.to_dict("list")]).encode()
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                yield name, repr(sorted(_hdf5_texts(file))).encode()


def _hdf5_texts(file: h5py.File) -> list[str]:
    found = [f"{key} {value}" for key, value in file.attrs.items()]

    def visit(name: str, item: h5py.HLObject) -> None:
        found.extend([name, *(f"{key} {value}" for key, value in item.attrs.items())])
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "OS":
            found.append(repr(item[()].tolist()))

    file.visititems(visit)
    return found


def secrets(place: Path) -> list[bytes]:
    """Return the names that must not occur."""
    names = [
        OWNER,
        place.name,
        str(Path.home()),
        socket.gethostname(),
        getpass.getuser(),
    ]
    return [name.encode() for name in names if len(name) >= LEAST and name not in ("/root", "root")]


def _owned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x013B] = OWNER  # the artist
    return exif


@pytest.mark.slow
def test_a_run_with_absolute_paths_its_report_and_its_exports_name_no_place(tmp_path: Path) -> None:
    place = write_faces(tmp_path / "folder-of-nobody-else")
    for path in (place / "faces").iterdir():
        with Image.open(path) as image:
            image.save(path, exif=_owned())
    words = ["--labels", str(place / "labels.csv"), "-o", str(place / "out"), "--report"]
    recipe = {"format": "faceaug-recipe", "version": 2, "dataset": {"path": str(place / "faces")}}
    (place / "run.yaml").write_text(json.dumps(recipe))
    run = start_balance(place, *words, "--recipe", str(place / "run.yaml"), "--licence", "CC0")
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    space: dict[str, object] = {}
    exec(IN_PROCESS, space)
    for form in ("imagefolder", "parquet", "webdataset", "coco-json"):
        arguments = ["export", str(place / "out"), "-o", str(tmp_path / "exports" / form), "--to", form]
        arguments += ["--with-real", str(place / "faces"), "--labels", str(place / "labels.csv")]
        assert space["run"](arguments) == 0
    assert (
        space["run"](["subset", str(place / "out"), "-o", str(tmp_path / "exports" / "part"), "--where", "g == 'a'"])
        == 0
    )
    for folder in (place / "out", tmp_path / "exports"):
        for name, text in texts(folder):
            assert [secret for secret in secrets(place) if secret in text] == [], name
