"""The engine of a run in another process: created from the same request, with the models that the driver learnt."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from faceaug.errors import FaceaugError, IntegrityError, OutputError
from faceaug.planning.plan import PlannedCell
from faceaug.shards.manifest import MODELS_FOLDER, Manifest
from faceaug.synthesis.engines.base import Engine, PreparationInputs
from faceaug.synthesis.engines.registry import create_engine
from faceaug.synthesis.executors.block_files import decode_block, encode_block
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
        As it is once the engine is prepared; what it says of samples is not used.
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


@dataclass(frozen=True, eq=False)
class RebuiltEngine:
    """An engine that proposes the same candidates as that of the driver, as bytes that are handed over.

    Attributes
    ----------
    engine : Engine
        Prepared.
    run : str
        The fingerprint of the run.
    keep_refused : bool
        Whether the driver keeps refused pictures; without, none is handed over.
    """

    engine: Engine
    run: str
    keep_refused: bool

    def encoded(self, cell: PlannedCell, block: int) -> bytes:
        """Compute a block and return its result as `decode_block` reads it.

        Raises
        ------
        FaceaugError
            What the engine raised, or when its result is none that can be read; to compute it again would not help.
        """
        result = self.engine.propose(cell, block)
        data = encode_block(result if self.keep_refused else replace(result, pictures={}), self.run)
        try:
            decode_block(data, self.run)
        except IntegrityError as error:
            names = ", ".join(self.engine.names)
            raise FaceaugError(f"the engine {names} returned a block that cannot be handed over: {error}") from error
        return data


def rebuild_engine(request: RunRequest, models: LearntModels) -> RebuiltEngine:
    """Return the engine of a driver in another process.

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
    return RebuiltEngine(engine, manifest.fingerprint, request.config.keep_refused)
