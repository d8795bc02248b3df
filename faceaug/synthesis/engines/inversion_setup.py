"""What edits of real faces have to know before the first one: an encoder, a unit of errors, common views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceaug.analysis.axes import Axis
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.thumbnails import common_aspect
from faceaug.errors import DatasetError, IntegrityError, UsageError
from faceaug.generators.base import Generator
from faceaug.generators.sampling import latent_seeds, sample_latents
from faceaug.inversion.distance import LEAST_PAIRS
from faceaug.inversion.inverter import Inverter, train_inverter
from faceaug.latents.bundle import Bundle
from faceaug.planning.plan import Plan
from faceaug.reconstruction.semantics import NAMES
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.editing.pose_readout import LearnedDirections
from faceaug.synthesis.engines.face_crops import FaceCropper
from faceaug.synthesis.engines.inversion_edit import TURNED, InversionEngine
from faceaug.synthesis.engines.latent_edit import LatentEditor
from faceaug.synthesis.engines.source_faces import SourceFaces, is_rendered
from faceaug.synthesis.sample_schema import kept_labels
from faceaug.utils.files import read_json, write_json
from faceaug.utils.threads import StageProgress
from faceaug.utils.typing import Floats

ENCODER, FIGURES = "encoder.safetensors", "inversion.json"
"""What `prepare_inversion` leaves in the folder of a run's models; the figures come last and say that the rest is whole."""
LOOKED_AT = 384  # photographs that tell how different people look, and what view and light are common
TRIED = 24  # photographs, and draws, that are inverted to say how near that comes
QUANTILES = (0.1, 0.5, 0.9)
_HELD_OUT = 2**26  # first number of the draws that are inverted; the survey and the encoder know others


def check_turning(
    dataset: FaceDataset, axes: Sequence[Axis], generator: Generator, found: LearnedDirections | Bundle | None
) -> None:
    """Refuse runs in which nothing could turn or relight a face, or hardly a face is there."""
    if len(dataset) < LEAST_PAIRS:
        raise DatasetError(_too_few(dataset, len(dataset), {}))
    if found is None and not any(is_rendered(axis) for axis in axes):
        raise UsageError(
            f"--from-real turns and relights real faces, and no directions of view and light are known in "
            f"{generator.name!r}: find them with faceaug discover and name the file as --directions FILE"
        )


def prepare_inversion(
    dataset: FaceDataset, plan: Plan, editor: LatentEditor, folder: Path, config: RunConfig, told: StageProgress
) -> InversionEngine:
    """Learn to invert the dataset's photographs, or read what an interrupted run has learnt already in `folder`.

    The figures, a dict "inversion" of the guide's own, are completed.
    """
    models, measured = editor.models, dataset.measured
    cropper = FaceCropper(
        dataset, models.reader.framing, common_aspect(dataset), models.found.instrument if models.found else None,
        measured.aligned if measured else config.aligned,
    )  # fmt: skip
    if not (folder / FIGURES).exists():
        rows = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), LOOKED_AT)).astype(int)).tolist()
        taken = cropper.take(rows)
        usable = [k for k, why in enumerate(taken.refused) if not why]
        if len(usable) < LEAST_PAIRS:
            raise DatasetError(_too_few(dataset, len(rows), Counter(why for why in taken.refused if why)))
        columns = [NAMES.index(name) for name in TURNED]
        common = taken.measured[usable][:, columns]
        common = common[np.isfinite(common).all(1)]
        if not len(common) and not any(is_rendered(axis) for axis in plan.axes):
            raise DatasetError(
                f"view and light could be measured on none of {len(rows)} photographs of {dataset.name}, so nothing "
                "tells how faces are to be turned: count by yaw as well, or leave out --from-real"
            )
        inverter = train_inverter(
            editor.generator, models.reader.view, taken.images[usable], seed=config.seed,
            progress=lambda done, of: told("inversion", done, of),
        )  # fmt: skip
        inverter.save(folder / ENCODER)
        write_json(
            folder / FIGURES, dict(common=common.tolist(), figures=_tried(inverter, taken.images[usable], config))
        )
    inverter = Inverter.load(folder / ENCODER, editor.generator, models.reader.view)
    known = read_json(folder / FIGURES, "what is known of inverting photographs")
    try:
        models.figures["inversion"] = known["figures"]
        common = np.array(known["common"], np.float64).reshape(-1, len(TURNED))
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{folder / FIGURES} is damaged; start again in another folder") from error
    sources = SourceFaces(dataset, plan.axes, (), config.thresholds.drift, config.seed, own=True)
    return InversionEngine(
        editor, inverter, cropper, sources, kept_labels(dataset, plan.axes),
        common, tries=config.tries, max_uses=config.max_uses,
    )  # fmt: skip


def _too_few(dataset: FaceDataset, looked_at: int, refused: Mapping[str, int]) -> str:
    why = ", ".join(f"{reason} {count}" for reason, count in refused.items())
    return (
        f"of {looked_at} photographs of {dataset.name} {looked_at - sum(refused.values())} can be inverted"
        f"{f' ({why})' if why else ''}, and at least {LEAST_PAIRS} are needed: leave out --from-real"
    )


def _tried(inverter: Inverter, photographs: Tensor, config: RunConfig) -> dict[str, Any]:
    """Say how near photographs come, and draws that nobody has seen, beside the mean face."""
    pick = np.unique(np.linspace(0, len(photographs) - 1, min(len(photographs), TRIED)).astype(int))
    drawn = sample_latents(inverter.generator, latent_seeds(config.seed, _HELD_OUT, TRIED))
    with torch.no_grad():
        survey_samples = inverter.drawn(torch.from_numpy(drawn.astype(np.float32)))
        mean = inverter.drawn(torch.from_numpy(np.asarray(inverter.generator.w_mean, np.float32))[None])
        plain = inverter.likeness(mean.expand_as(photographs[pick]), photographs[pick])
    found = inverter(photographs[pick]).error
    return dict(
        quantiles=QUANTILES, photographs=_quantiles(found), survey_samples=_quantiles(inverter(survey_samples).error),
        photographs_by_the_mean_face=_quantiles(plain.double().numpy()),
        within_limit=round(float((found <= config.thresholds.inversion).mean()), 3),
    )  # fmt: skip


def _quantiles(errors: Floats) -> list[float]:
    return [round(float(value), 3) for value in np.quantile(errors, QUANTILES)]
