"""The engine of a run in another process: created from the same request, with the models that the driver learnt."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from faceaug.errors import OutputError
from faceaug.shards.manifest import MODELS_FOLDER, Manifest
from faceaug.synthesis.engines.base import Engine, PreparationInputs
from faceaug.synthesis.engines.registry import create_engine
from faceaug.synthesis.request import RunRequest
from faceaug.synthesis.stages import read_images
from faceaug.utils.files import inside, read_regular
from faceaug.utils.threads import StageProgress


@dataclass(frozen=True, eq=False)
class LearntModels:
    """What a driver learnt, and for which images.

    Attributes
    ----------
    manifest : Manifest
        As it is once the engine is prepared; without samples of interest.
    files : dict of str to bytes
        The files in the folder of models, by name.
    """

    manifest: Manifest
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, out: Path, manifest: Manifest) -> LearntModels:
        """Read the models that a manifest lists from its output folder."""
        prefix = f"{MODELS_FOLDER}/"
        names = [entry.name for entry in manifest.files if entry.name.startswith(prefix)]
        return cls(manifest, {name.removeprefix(prefix): read_regular(inside(out, name)) for name in names})


def rebuild_engine(request: RunRequest, models: LearntModels) -> Engine:
    """Return an engine that proposes the same candidates as that of the driver.

    Raises
    ------
    OutputError
        When the images of the data set are other ones here.
    """
    manifest = models.manifest
    progress: StageProgress = lambda stage, done, total: None  # noqa: E731
    engine = create_engine(request)
    images = read_images(request, progress)
    if manifest.dataset.images not in (None, images.sha256):
        raise OutputError(
            f"the images of {request.dataset.name} are others on this machine than on that of the driver (SHA-256 "
            f"{images.sha256}, there {manifest.dataset.images}): every worker must read the same ones"
        )
    stored_codec = manifest.codec if manifest.layout == "blob" else None
    with tempfile.TemporaryDirectory(prefix="faceaug-models-") as folder:
        for name, content in models.files.items():
            (Path(folder) / name).write_bytes(content)
        engine.prepare(PreparationInputs(images.thumbnails, manifest.codec, stored_codec, Path(folder), progress))
    return engine
