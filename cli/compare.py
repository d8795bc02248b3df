"""`faceaug compare`: whether the faces of an output folder are new people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import read_unmeasured, source_options
from .terminal.console import Console
from .terminal.paths import PATH

if TYPE_CHECKING:
    from faceaug.identity.base import FaceEmbedder

_STAND_IN_FILE = "models/held_out.safetensors"


@click.command()
@click.argument("out", metavar="OUT", type=PATH)
@source_options
@click.option("--split", metavar="NAME", help="The split to compare with.  [default: that of the run]")
@click.option(
    "--embedder",
    metavar="NAME",
    help="What compares people: dlib, or one of another package.  [default: dlib; where the extra faceaug[identity] is "
    "not installed, the features of a classifier of the run, without a verdict]",
)
@click.option("--max-samples", metavar="N", type=click.IntRange(1), help="Compare at most N samples, spread evenly.")
@click.option(
    "--cache",
    metavar="FILE",
    type=PATH,
    help="Keep the embeddings of DATASET in a .safetensors file. They are biometric data of its people.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor remarks.")
def compare(out: Path, **options: Any) -> None:
    """Measure how far the faces of an output folder are from the people of its data set.

    DATASET is the data set that was balanced. The result goes to the report of OUT, as distances without embeddings.
    With dlib, comparing takes about 20 milliseconds of one core for each face, real or synthetic.

    \b
    Example:
      faceaug compare out/ faces/
      faceaug compare out/ faces/ --max-samples 500 --cache faces_identity.safetensors
    """
    from faceaug.identity.output import compare_output
    from faceaug.identity.reference import IdentityReference
    from faceaug.report.build import REPORT_PAGE
    from faceaug.report.identity import write_identity
    from faceaug.shards.manifest import read_manifest
    from faceaug.utils.files import check_writable

    manifest = read_manifest(out)
    if options["cache"] is not None:
        check_writable(options["cache"])
    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    embedder = _load(out, options["embedder"], console)
    options["split"] = options["split"] or manifest.dataset.split or "all"
    dataset = read_unmeasured({**options, "strict": False, "check": "header", "workers": None}, console)
    with console.counter("real faces", "face", len(dataset)) as progress:
        reference = IdentityReference.build(dataset, embedder, cache=options["cache"], progress=progress)
    with console.counter("synthetic faces", "face") as progress:
        summary = compare_output(out, reference, most=options["max_samples"], progress=progress)
    write_identity(out, summary)
    if (out / REPORT_PAGE).exists():
        console.remark(f"The comparison is in {out / REPORT_PAGE}.")
    console.show("\n".join(summary.sentences()), json.loads(summary.model_dump_json()))


def _load(out: Path, name: str | None, console: Console) -> FaceEmbedder:
    """Return the embedder that was named, or dlib, or what stands in for it where it is not installed."""
    from faceaug.identity.dlib_embedder import dlib_installed
    from faceaug.identity.registry import DEFAULT_EMBEDDER, load_embedder

    stand_in = out / _STAND_IN_FILE
    if name is not None or dlib_installed() or not stand_in.exists():
        return load_embedder(name or DEFAULT_EMBEDDER)
    from faceaug.classifiers.classifier import Classifier
    from faceaug.identity.stand_in import ClassifierFeatures

    console.remark(
        "The extra faceaug[identity] is not installed. The features of the run's held-out classifier stand in: they do "
        "not tell people apart, so there is no verdict."
    )
    return ClassifierFeatures(Classifier.load(stand_in))
