"""Images and output folders that the rows read and write."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceaug.analysis.axes import Axis
from faceaug.planning.plan import Plan, PlannedCell
from faceaug.shards.columns import Column
from faceaug.shards.manifest import CellRecord, CreatedBy, DatasetRecord, GeneratorRecord, ManifestHeader
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.writer import Layout, Sample
from faceaug.utils import images

NUMBER = Column(group="attr", name="number", type="float64", meaning="number of the image")
SHARDS = 4  # as many files as a reader has workers at most


def smooth_images(count: int, side: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return smooth images with some noise, uint8 [count, side, side, 3]; a JPEG of one has about 20 KB at 256 px."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((count, side, side, 3), np.uint8)
    for k in range(count):
        coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        smooth = images.resize(coarse, (side, side)).astype(np.float32)
        pixels[k] = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255)
    return pixels


def sample(image: NDArray[np.uint8] | bytes, number: int) -> Sample:
    """Return a sample whose only label is its number."""
    return Sample(
        image=image,
        w=None,
        origin_w=None,
        engine="generator",
        source_sha256=None,
        harmonize={},
        cell=0,
        attr={"number": number},
        attr_confidence={},
        semantic={},
        plausibility=float("nan"),
        realism=float("nan"),
        seed=number,
        quality=90,
    )


def write_output(folder: Path, pixels: NDArray[np.uint8], layout: Layout = "blob") -> Path:
    """Write a complete output folder of images uint8 [N, H, W, 3], in `SHARDS` shards."""
    count = len(pixels)
    header = ManifestHeader(
        created_by=CreatedBy(faceaug="0", command="benchmarks.speed"),
        seed=0,
        generator=GeneratorRecord(name="none", sha256="0" * 64, licence="none needed", origin="made up"),
        dataset=DatasetRecord(name="none", fingerprint="0" * 64, rows=count, reader="folder"),
        layout=layout,
        columns=(NUMBER,),
        config={},
    )
    cell = CellRecord.planned_only(0, {"group": "all"}, real=0, wanted=count, planned=count)
    planned = PlannedCell(0, {"group": "all"}, real=0, wanted=count, planned=count)
    plan = Plan((Axis("group", "categorical", ("all",)),), (planned,), "explicit").to_dict()
    with OutputFolder.open(folder, "0" * 64, max_rows=-(-count // SHARDS)) as output:
        output.begin(header, [cell], plan)
        output.append([sample(image, k) for k, image in enumerate(pixels)], {}, progress={})
        output.finish(measured={})
    return folder


def rgb(data: bytes) -> NDArray[np.uint8]:
    """Decode an image as users of PIL do, to uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
