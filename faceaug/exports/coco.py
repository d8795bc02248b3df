"""Image files with labels in the JSON of COCO, which tools for annotation and detection open.

A class is that of an image folder: a cell, or levels of attributes. An image has one annotation, whose box is the whole
image, with its labels as `attributes`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from faceaug.exports.image_folder import folder_names, folder_of
from faceaug.exports.records import SYNTHETIC, ExportSource, known_values
from faceaug.shards.description.data_card import image_licence, summary
from faceaug.utils.images import inspect
from faceaug.utils.threads import Progress

ANNOTATIONS_NAME, IMAGES_FOLDER = "annotations.json", "images"


def write_coco(
    source: ExportSource, folder: Path, progress: Progress, by: str | Sequence[str] | None = None
) -> dict[str, int]:
    """Write the images of a source as files, and the annotations; return the number of images by class.

    `write_image_folder` says what `by` is and what is raised.
    """
    names = folder_names(source, by)
    (folder / IMAGES_FOLDER).mkdir()
    counts: Counter[str] = Counter()
    classes: dict[str, int] = {}
    manifest = source.manifest
    with (
        open(folder / ANNOTATIONS_NAME, "w", encoding="utf-8") as file,
        tempfile.TemporaryFile("w+", encoding="utf-8") as annotations,  # their list follows that of the images
    ):
        description = summary(manifest) + source.real_statement
        info = {"description": description, "version": "1.0", "date_created": manifest.created_by.date}
        licences = [{"id": 1, "name": image_licence(manifest), "url": ""}]
        if source.real is not None:
            licences.append({"id": 2, "name": f"that of the data set {source.real.name}", "url": ""})
        file.write(f'{{"info": {_json(info)},\n"licenses": {_json(licences)},\n"images": [')
        for number, record in enumerate(source, start=1):
            name = folder_of(source, record, names)
            (folder / IMAGES_FOLDER / record.file_name).write_bytes(record.image)
            size = inspect(record.image, name=record.key)
            width, height, licence = size.width, size.height, 1 if record.values[SYNTHETIC] else 2
            image = {"id": number, "file_name": record.file_name, "width": width, "height": height, "license": licence}
            annotation = {
                "id": number,
                "image_id": number,
                "category_id": classes.setdefault(name, len(classes) + 1),
                "bbox": [0, 0, width, height],
                "area": width * height,
                "iscrowd": 0,
                "attributes": known_values(record.values),
            }
            before = ",\n" if number > 1 else "\n"
            file.write(before + _json(image))
            annotations.write(before + _json(annotation))
            counts[name] += 1
            progress(1)
        file.write('\n],\n"annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
        categories = [{"id": k, "name": name, "supercategory": "face"} for name, k in classes.items()]
        file.write(f'\n],\n"categories": {_json(categories)}}}\n')
    return dict(sorted(counts.items()))


def coco_images(folder: Path) -> Iterator[bytes]:
    """Yield the images that were written, in the order of the annotations."""
    for image in json.loads((folder / ANNOTATIONS_NAME).read_text("utf-8"))["images"]:
        yield (folder / IMAGES_FOLDER / image["file_name"]).read_bytes()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
