"""Write the image of the README: the demo data set before and after `make demo`.

python benchmarks/before_after.py demo-out docs/before_after.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceaug import demo
from faceaug.analysis.analyze import analyze
from faceaug.datasets.dataset import load_dataset
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.errors import UsageError
from faceaug.shards.manifest import read_manifest
from faceaug.utils.images import Rgb, resize

LONGEST_ROW = 14  # faces
INK, FAINT, SYNTHETIC = (34, 40, 49), (120, 128, 138), (42, 120, 214)
MARGIN = 12  # pixels around everything


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One row of the image: some faces of a group, and how many it has.

    Attributes
    ----------
    label : str
        Name of the group.
    real, synthetic : sequences of uint8 [H, W, 3]
        Faces to show. None is repeated, so a row may show fewer faces than its share.
    real_count, synthetic_count : int
        Faces that the group has.
    """

    label: str
    real: Sequence[Rgb]
    synthetic: Sequence[Rgb]
    real_count: int
    synthetic_count: int


def before_after(rows: Sequence[SheetRow], *, side: int = 44, longest: int = LONGEST_ROW, title: str = "") -> Rgb:
    """Draw a data set before and after: a row of faces per group, as long as the group is large.

    Parameters
    ----------
    rows : sequence of SheetRow
        From top to bottom. Synthetic faces are underlined.
    side : int
        Side of a face in pixels.
    longest : int
        Faces in the row of the largest group; one face stands for as many as this implies.
    title : str
        Text above the rows.

    Returns
    -------
    uint8 [H, W, 3]

    Raises
    ------
    UsageError
        When no row has a face.
    """
    largest = max((row.real_count + row.synthetic_count for row in rows), default=0)
    if not largest:
        raise UsageError("the image needs at least one group with faces")
    small, large = ImageFont.load_default(15), ImageFont.load_default(19)
    gutter = 2 * MARGIN + max(int(small.getlength(row.label)) for row in rows)
    panel = longest * (side + 2) + 90  # with room for the number behind the row
    head = (34 if title else 0) + 40
    height = side + 12
    picture = Image.new("RGB", (gutter + 2 * panel + MARGIN, head + len(rows) * height + 44), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    if title:
        draw.text((MARGIN, MARGIN), title, INK, large)
    for left, text in ((gutter, "before"), (gutter + panel, "after")):
        draw.text((left, head - 30), text, FAINT, large)
    for k, row in enumerate(rows):
        top = head + k * height
        draw.text((MARGIN, top + side / 2), row.label, INK, small, anchor="lm")
        count = row.real_count + row.synthetic_count
        real = faces_shown(row.real_count, largest, longest)
        synthetic = max(0, faces_shown(count, largest, longest) - real)
        draw_row(picture, (gutter, top), row.real[:real], [], side, f"{row.real_count:,}")
        draw_row(picture, (gutter + panel, top), row.real[:real], row.synthetic[:synthetic], side, f"{count:,}")
    foot = head + len(rows) * height + 8
    draw.rectangle((gutter, foot + 8, gutter + 28, foot + 11), SYNTHETIC)
    per_face = largest / longest
    scale = f"a face stands for about {per_face:,.0f}" if per_face >= 1.5 else "a face stands for one"
    draw.text((gutter + 36, foot), f"made by faceaug; {scale}", FAINT, small)
    return np.asarray(picture)


def draw_row(
    picture: Image.Image, corner: tuple[int, int], real: Sequence[Rgb], synthetic: Sequence[Rgb], side: int, text: str
) -> None:
    """Draw the faces of one row from `corner` (left, top), and `text` behind them."""
    draw = ImageDraw.Draw(picture)
    left, top = corner
    for k, face in enumerate([*real, *synthetic]):
        picture.paste(Image.fromarray(resize(face, (side, side))), (left, top))
        if k >= len(real):
            draw.rectangle((left, top + side + 1, left + side - 1, top + side + 4), SYNTHETIC)
        left += side + 2
    draw.text((left + 8, top + side / 2), text, FAINT, ImageFont.load_default(15), anchor="lm")


def faces_shown(count: int, largest: int, longest: int) -> int:
    """Return how many faces stand for `count`: at least one for a group that is not empty."""
    return max(round(longest * count / largest), 1 if count else 0)


def main() -> None:
    """Draw and write the image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="output folder of the demo")
    parser.add_argument("picture", type=Path, help="PNG to write")
    options = parser.parse_args()
    dataset, synthetic = load_dataset(demo.path()), ShardDataset(options.out, columns=["cell"])
    codes, cells = analyze(dataset, demo.BY).codes, synthetic.table(["cell"])["cell"].to_numpy()
    rows = []
    for cell in read_manifest(options.out).cells:
        real, added = np.flatnonzero(codes == cell.index), np.flatnonzero(cells == cell.index)
        items = synthetic.__getitems__(added[:LONGEST_ROW].tolist())
        faces = [image.permute(1, 2, 0).numpy() for image, _ in items]
        photographs = [dataset.image(int(i)) for i in real[:LONGEST_ROW]]
        rows.append(SheetRow(f"yaw {cell.attributes['yaw']}", photographs, faces, len(real), len(added)))
    Image.fromarray(before_after(rows, title="The demo data set")).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
