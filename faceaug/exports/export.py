"""Export an output folder: written record by record, read back, and there as a whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import IntegrityError, UsageError
from faceaug.exports.coco import coco_images, write_coco
from faceaug.exports.destination import ExportReport, appearing_folder
from faceaug.exports.image_folder import image_folder_images, write_image_folder
from faceaug.exports.parquet import parquet_images, write_parquet
from faceaug.exports.records import ExportRecord, ExportSource
from faceaug.exports.streams import litdata_images, mds_images, write_litdata, write_mds
from faceaug.exports.webdataset import webdataset_images, write_webdataset
from faceaug.places.filesystems import is_url
from faceaug.places.uploads import uploaded_folder
from faceaug.utils.text import nearest, shown
from faceaug.utils.threads import Progress


@dataclass(frozen=True)
class ExportFormat:
    """A format.

    Attributes
    ----------
    write : callable (source, folder, progress)
        Writes into an empty folder and returns the number of images by folder or file.
    images : callable (folder)
        Reads the images back, in the order in which they were written.
    """

    write: Callable[[ExportSource, Path, Progress], dict[str, int]]
    images: Callable[[Path], Iterator[bytes]]


FORMATS = {
    "imagefolder": ExportFormat(write_image_folder, image_folder_images),
    "webdataset": ExportFormat(write_webdataset, webdataset_images),
    "parquet": ExportFormat(write_parquet, parquet_images),
    "mds": ExportFormat(write_mds, mds_images),
    "litdata": ExportFormat(write_litdata, litdata_images),
    "coco-json": ExportFormat(write_coco, coco_images),
}
"""Formats by their names in ``--to``."""
_WITH_CLASSES = {"imagefolder": write_image_folder, "coco-json": write_coco}


def export_output(
    out: Path | str,
    destination: Path | str,
    kind: str = "imagefolder",
    *,
    by: str | Sequence[str] | None = None,
    real: FaceDataset | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the samples of an output folder, and real images beside them, in a format that other tools open.

    Images are copied in their encoding (raw pixels become PNG). What was written is read back and compared with what
    was read; the destination appears complete or not at all.

    Parameters
    ----------
    out : path or URL
        A complete output folder.
    destination : path or URL
        Absent, or an empty folder. At a URL, the file `faceaug-unfinished.txt` lies as long as files are uploaded.
    kind : str
        A key of `FORMATS`.
    by : str or sequence of str, optional
        For image folders and COCO: what makes a folder or a class, see `write_image_folder`.
    real : FaceDataset, optional
        Real images, which follow the samples; the field `synthetic` tells the two apart.
    progress : callable (images), optional
        Called with the number of images that were just written.

    Returns
    -------
    ExportReport

    Raises
    ------
    UsageError
        When the format or a name in `by` is unknown, a package is missing, or the run is unfinished.
    OutputError
        When the destination is not empty or cannot be written.
    ImageError
        When a real image cannot be read.
    IntegrityError
        When a shard or an image does not match its hash, or what is read back is not what was written.
    """
    if kind not in FORMATS:
        raise UsageError(f"there is no format {shown(kind)} to export to; {nearest(kind, FORMATS)}")
    if by is not None and kind not in _WITH_CLASSES:
        raise UsageError(
            f"classes by an attribute are of --to imagefolder and coco-json; leave --by out of --to {kind}"
        )
    source = _Hashed(out, real)
    destination = str(destination).rstrip("/") if is_url(destination) else Path(destination)
    write = partial(_WITH_CLASSES[kind], by=by) if kind in _WITH_CLASSES else FORMATS[kind].write
    appearing = uploaded_folder(destination) if isinstance(destination, str) else appearing_folder(destination)
    with appearing as (temporary, again):
        counts = write(source, temporary, progress or (lambda images: None))
        written = hashlib.sha256()
        for image in FORMATS[kind].images(temporary):
            written.update(hashlib.sha256(image).digest())
        if written.digest() != source.digest.digest():
            raise IntegrityError(
                f"what was written to {destination} is read back otherwise; check the disk, and export again"
            )
    return ExportReport(destination, sum(counts.values()), counts, again)


class _Hashed(ExportSource):
    """A source that remembers the hashes of the images that it gave, one after the other."""

    def __init__(self, out: Path | str, real: FaceDataset | None) -> None:
        super().__init__(out, real)
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[ExportRecord]:
        for record in super().__iter__():
            self.digest.update(hashlib.sha256(record.image).digest())
            yield record
