"""Shards are read by programs that know nothing of faceaug: h5py by hand, and Hugging Face's datasets."""

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from shard_samples import sample, write_output

from faceaug.shards.reader import ShardReader

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


@pytest.mark.parametrize("layout", ["blob", "raw"])
def test_the_lines_of_the_documentation_read_a_shard(tmp_path, monkeypatch, capsys, layout):
    write_output(tmp_path / "out", count=12, layout=layout)
    code = PAGE.read_text("utf-8").split("**By hand.**")[1].split("```python\n")[1].split("```")[0]
    if layout == "raw":
        code = code.replace('Image.open(io.BytesIO(shard["image"][5]))', 'shard["pixels"][5]')
    monkeypatch.chdir(tmp_path)
    names = {"h5py": h5py, "io": io, "Image": Image}
    exec(code, names)
    with ShardReader("out/shards/00000.h5") as reader:
        np.testing.assert_array_equal(np.asarray(names["face"]), reader.image(5))
    assert capsys.readouterr().out.split() == [sample(5).attr["gender"], "5.0"]


@pytest.mark.parametrize("layout", ["blob", "raw"])
def test_hugging_face_loads_all_shards_of_a_folder(tmp_path, layout):
    datasets = pytest.importorskip("datasets")
    out = write_output(tmp_path / "out", count=9, rows=1, layout=layout)  # shards with and without latents and sources
    rows = datasets.load_dataset(
        "hdf5", data_files=str(out / "shards" / "*.h5"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [row["semantic"]["yaw"] for row in rows] == [float(k) for k in range(9)]
    if layout == "blob":
        with ShardReader(out / "shards" / "00004.h5") as reader:
            assert bytes(rows[4]["image"]) == reader.encoded(0)
