"""WebDataset: tar files in which an image and its labels, as JSON, have one name and two suffixes."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from faceaug.exports.records import ExportSource, known_values
from faceaug.utils.threads import Progress

MOST_ROWS, MOST_BYTES = 10_000, 1 << 30
"""Size at which a tar file is closed."""


def write_webdataset(source: ExportSource, folder: Path, progress: Progress) -> dict[str, int]:
    """Write the images of a source to tar files; return the number of images by file."""
    counts: dict[str, int] = {}
    with contextlib.ExitStack() as opened:
        archive, name, size = None, "", 0
        for record in source:
            if archive is None or counts[name] >= MOST_ROWS or size > MOST_BYTES:
                opened.close()  # the file before
                name, size = f"{len(counts):06d}.tar", 0
                archive, counts[name] = opened.enter_context(tarfile.open(folder / name, "w")), 0
            sidecar = json.dumps(known_values(record.values), ensure_ascii=False).encode()
            for file, data in ((record.file_name, record.image), (f"{record.key}.json", sidecar)):
                member = tarfile.TarInfo(file)
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
            counts[name] += 1
            size += len(record.image)
            progress(1)
    return counts


def webdataset_images(folder: Path) -> Iterator[bytes]:
    """Yield the images of tar files that were written, in their order."""
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is not None and not member.name.endswith(".json"):
                    yield file.read()
