"""What is fitted before real faces are inverted and edited: an encoder, the unit of errors, common views and lights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import DatasetError, IntegrityError
from faceaug.generators.sampling import latent_seeds, sample_latents
from faceaug.inversion.distance import MIN_PHOTOGRAPHS
from faceaug.inversion.inverter import Inverter, train_inverter
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.latent.face_crops import FaceCropper
from faceaug.synthesis.engines.latent.latent_editor import LatentEditor
from faceaug.synthesis.engines.rerendering.source_faces import is_rendered
from faceaug.synthesis.request import RunRequest
from faceaug.utils.files import read_json, write_json
from faceaug.utils.threads import StageProgress
from faceaug.utils.typing import Floats

ENCODER_FILE, INVERSION_FILE = "encoder.safetensors", "inversion.json"
"""What `fit_inversion` leaves in the folder of models; the second comes last and says that the first is whole."""
MOST_TURNED = dict(yaw=20.0, light_x=30.0)
"""View and light that faces take from other photographs where their cell requests labels alone, and the most degrees by
which they change."""
SURVEYED_PHOTOGRAPHS = 384  # on which the difference between people and common views and lights are measured
EVALUATED = 24  # photographs, and generated faces, on which the error of an inversion is measured
ERROR_QUANTILES = (0.1, 0.5, 0.9)
_EVALUATION_SEEDS = 2**26  # first number of the latents that are inverted; the survey and the encoder use others


@dataclass(frozen=True, eq=False)
class FittedInversion:
    """An inverter of a data set's photographs.

    Attributes
    ----------
    inverter : Inverter
    common : float64 [M, 2]
        Yaw and light_x of photographs of the data set, in degrees; empty where all cells request view or light.
    metrics : dict
        How near inversions come, as JSON values.
    """

    inverter: Inverter
    common: Floats
    metrics: dict[str, Any]


def fit_inversion(
    request: RunRequest, editor: LatentEditor, cropper: FaceCropper, folder: Path, progress: StageProgress
) -> FittedInversion:
    """Learn to invert the data set's photographs, or read what an interrupted run has learnt already.

    Raises
    ------
    DatasetError
        When too few photographs can be inverted, or nothing tells how faces are to be turned.
    IntegrityError
        When a file that was written before is damaged.
    """
    if not (folder / INVERSION_FILE).exists():
        photographs, common = _survey_photographs(request, cropper)
        inverter = train_inverter(
            editor.generator,
            editor.models.reader.view,
            photographs,
            seed=request.config.seed,
            progress=lambda done, total: progress("inversion", done, total),
        )
        inverter.save(folder / ENCODER_FILE)
        metrics = _evaluate(inverter, photographs, request.config)
        write_json(folder / INVERSION_FILE, {"common": common.tolist(), "metrics": metrics})
    inverter = Inverter.load(folder / ENCODER_FILE, editor.generator, editor.models.reader.view)
    state = read_json(folder / INVERSION_FILE, "what is known of inverting photographs")
    try:
        common = np.array(state["common"], np.float64).reshape(-1, len(MOST_TURNED))
        return FittedInversion(inverter, common, state["metrics"])
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{folder / INVERSION_FILE} is damaged; start again in another folder") from error


def _survey_photographs(request: RunRequest, cropper: FaceCropper) -> tuple[Tensor, Floats]:
    """Return photographs [N, 3, 64, 64] that can be inverted, and the views and lights [M, 2] that were measured."""
    dataset = request.dataset
    count = min(len(dataset), SURVEYED_PHOTOGRAPHS)
    rows = np.unique(np.linspace(0, len(dataset) - 1, count).astype(int)).tolist()
    crops = cropper.take(rows)
    usable = [k for k, reason in enumerate(crops.refused) if not reason]
    if len(usable) < MIN_PHOTOGRAPHS:
        refused = Counter(reason for reason in crops.refused if reason)
        raise DatasetError(too_few_photographs(dataset, len(rows), refused))
    columns = [FACTOR_NAMES.index(name) for name in MOST_TURNED]
    common = crops.measured[usable][:, columns]
    common = common[np.isfinite(common).all(1)]
    if not len(common) and not any(is_rendered(axis) for axis in request.plan.axes):
        raise DatasetError(
            f"view and light could be measured on none of {len(rows)} photographs of {dataset.name}, so nothing tells "
            "how faces are to be turned: count by yaw as well, or leave out --from-real"
        )
    return crops.images[usable], common


def too_few_photographs(dataset: FaceDataset, looked_at: int, refused: Mapping[str, int]) -> str:
    """Return the sentence for a data set of which too few photographs can be inverted."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in refused.items())
    return (
        f"of {looked_at} photographs of {dataset.name} {looked_at - sum(refused.values())} can be inverted"
        f"{f' ({reasons})' if reasons else ''}, and at least {MIN_PHOTOGRAPHS} are needed: leave out --from-real"
    )


def _evaluate(inverter: Inverter, photographs: Tensor, config: RunConfig) -> dict[str, Any]:
    """Return the errors of inverted photographs and of inverted generated faces, beside those of the mean face."""
    pick = np.unique(np.linspace(0, len(photographs) - 1, min(len(photographs), EVALUATED)).astype(int))
    w = sample_latents(inverter.generator, latent_seeds(config.seed, _EVALUATION_SEEDS, EVALUATED))
    with torch.no_grad():
        generated = inverter.synthesize(torch.from_numpy(w.astype(np.float32)))
        mean = inverter.synthesize(torch.from_numpy(np.asarray(inverter.generator.w_mean, np.float32))[None])
        baseline = inverter.distance(mean.expand_as(photographs[pick]), photographs[pick])
    errors = inverter(photographs[pick]).error
    return {
        "quantiles": ERROR_QUANTILES,
        "photographs": _quantiles(errors),
        "generated": _quantiles(inverter(generated).error),
        "photographs_by_the_mean_face": _quantiles(baseline.double().numpy()),
        "within_threshold": round(float((errors <= config.thresholds.inversion).mean()), 3),
    }


def _quantiles(errors: Floats) -> list[float]:
    return [round(float(value), 3) for value in np.quantile(errors, ERROR_QUANTILES)]
