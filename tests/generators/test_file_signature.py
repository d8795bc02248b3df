"""Files that were saved in the place of a generator: each is told by what it is, with the way to the right one."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest
import safetensors.torch
import torch

from faceaug.errors import GeneratorError
from faceaug.generators.file_signature import HEAD_BYTES, read_head
from faceaug.generators.importers.convert import import_generator
from faceaug.generators.registry import load_generator
from faceaug.utils.images import encode

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 381673535\n"
FILES = {
    "pointer": (POINTER, r"is a Git LFS pointer that stands for 381,673,535 bytes, .*git lfs pull"),
    "page": (
        b"\n<!DOCTYPE html>\n<html><head><TITLE>Virus\n scan</TITLE></head>",
        r"is a web page \('Virus scan'\), .*login",
    ),
    "page without a title": (b"\xef\xbb\xbf<html lang=de>", r"is a web page, .*open it in a browser"),
    "answer": (b'{"error": "no such file"}', r"is a text file that begins '\{\"error\": \"no such file\"\}', "),
    "text": ("für Gesichter\n".encode(), r"is a text file that begins 'für Gesichter', "),
    "text that is cut in a letter": (b"x" * (HEAD_BYTES - 1) + "ü".encode(), r"is a text file that begins 'x{60}', "),
    "empty": (b"", r"is empty, .*broke off"),
    "packed": (gzip.compress(b"weights"), r"is packed with gzip, .*unpack it first"),
    "picture": (encode(np.zeros((4, 4, 3), np.uint8), "png"), r"is a PNG image, "),
    "data": (b"\x89HDF\r\n\x1a\n" + bytes(8), r"is an HDF5 file, "),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", ["faces.pkl", "faces.pt", "faces.safetensors"])
def test_what_was_saved_in_the_place_of_a_generator(tmp_path, kind, name):
    data, message = FILES[kind]
    path = tmp_path / name
    path.write_bytes(data)
    tries = [lambda: import_generator(path)]
    if path.suffix == ".safetensors":
        tries.append(lambda: load_generator(path))
    for attempt in tries:
        with pytest.raises(GeneratorError, match=message) as caught:
            attempt()
        sentence = str(caught.value)
        assert sentence.startswith(f"{path} is ")
        assert "was expected: " in sentence
        assert "\n" not in sentence


def test_a_folder_and_nothing_at_all(tmp_path):
    for attempt in (import_generator, load_generator):
        (tmp_path / "x.safetensors").mkdir(exist_ok=True)
        with pytest.raises(GeneratorError, match=r"is a folder, .* was expected: name the file in it"):
            attempt(tmp_path / "x.safetensors")
        with pytest.raises(GeneratorError, match="cannot be read: No such file"):
            attempt(tmp_path / "y.safetensors")


def test_kinds_that_cannot_be_imported(tmp_path):
    path = tmp_path / "faces.pkl"
    path.write_bytes(safetensors.torch.save({"x": torch.zeros(1)}))
    with pytest.raises(GeneratorError, match=r"is a safetensors file under another name, .*end in \.safetensors"):
        import_generator(path)
    path.write_bytes(bytes(range(1, 40)))
    with pytest.raises(GeneratorError, match=r"of an unknown kind \(it begins with the bytes 01 02 .* get it again"):
        import_generator(path)


def test_safetensors_whose_length_looks_like_another_files_mark(tmp_path):
    header = json.dumps({"__metadata__": {"x": "y"}})
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 0x8B1F) + header.ljust(0x8B1F).encode())
    assert path.read_bytes().startswith(b"\x1f\x8b")
    assert len(read_head(path, "anything")) == HEAD_BYTES
