"""The comparison of an output folder with the real faces of its data set."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from shard_samples import cells, header, plan, sample
from toy_embedder import ToyEmbedder

from faceaug.datasets import LoadOptions, load_dataset
from faceaug.identity import IdentityReference, SamePerson
from faceaug.identity.column import identity_column
from faceaug.identity.output import compare_output
from faceaug.identity.summary import REAL_TO_REAL, SAMPLE_TO_REAL, SAMPLE_TO_SOURCE, IdentitySummary
from faceaug.shards.output_folder import OutputFolder
from faceaug.utils.images import encode

GREYS = (20, 60, 110, 170)


@pytest.fixture
def reference(tmp_path):
    """Four plain real faces."""
    for k, grey in enumerate(GREYS):
        path = tmp_path / "faces" / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(np.full((8, 8, 3), grey, np.uint8), "png"))
    dataset = load_dataset(tmp_path / "faces", options=LoadOptions(needs_labels=False))
    return IdentityReference.build(dataset, ToyEmbedder())


def written(path, reference, greys, sources, distances=None):
    """An output folder of plain samples, each with the real face that it was made from, or None."""
    column = (identity_column(reference.embedder),) if distances else ()
    samples = []
    for k, (grey, source) in enumerate(zip(greys, sources, strict=True)):
        digest = None if source is None else reference.digests[source] if source >= 0 else bytes(range(32))
        samples.append(
            sample(
                k,
                image=np.full((24, 24, 3), grey, np.uint8),
                engine="rerender" if digest else "generator",
                source_sha256=digest,
                semantic={"yaw": 0.0, **({"identity_distance": distances[k]} if distances else {})},
            )
        )
    with OutputFolder.open(path, "f" * 64, max_rows=2) as folder:
        folder.begin(header(columns=(*header().columns, *column), codec="png"), cells(), plan())
        folder.append(samples, {})
        folder.finish(measured={})
    return path


def plain(difference: float) -> float:
    """The toy distance of two plain pictures whose greys differ by this much."""
    return pytest.approx(np.sqrt(12) * difference / 255, abs=1e-3)


def test_samples_are_compared_with_their_photographs_and_with_everybody(tmp_path, reference):
    greys, sources = (21, 100, 171, 0, 111, 140), (0, 1, None, 2, -1, 2)
    summary = compare_output(written(tmp_path / "out", reference, greys, sources), reference)
    assert (summary.stored, summary.compared, summary.without_face) == (6, 6, 1)
    assert (summary.sourced, summary.sources_missing, summary.real) == (5, 1, 4)
    source, nearest, real = (summary.distances[name] for name in (SAMPLE_TO_SOURCE, SAMPLE_TO_REAL, REAL_TO_REAL))
    assert (source.n, nearest.n, real.n) == (3, 5, 4)
    assert (source.below, nearest.below, real.below) == (1, 3, 0)
    assert source.median == plain(30)
    assert real.median == plain(45)
    assert sum(source.counts) == 3
    assert (summary.nearest_to_source, summary.judged_by_rank) == (3, 3)
    assert "1 of 3 samples made from photographs (33%) lie nearer to one of them than 0.1" in summary.sentences()[0]
    assert "No face was found in 1 of the 6 compared samples." in summary.sentences()
    assert IdentitySummary.model_validate_json(summary.model_dump_json()) == summary


def test_a_distance_that_the_engine_measured_counts_as_it_knows_all_sources(tmp_path, reference):
    out = written(tmp_path / "out", reference, (100, 150), (1, None), distances=(0.05, float("nan")))
    assert compare_output(out, reference).distances[SAMPLE_TO_SOURCE].quantiles[2] == pytest.approx(0.05)
    reference.embedder.sha256 = "0" * 64  # another embedder: its distances mean something else
    assert compare_output(out, reference).distances[SAMPLE_TO_SOURCE].median == plain(40)


def test_some_samples_can_be_compared_for_all(tmp_path, reference):
    out, counts = written(tmp_path / "out", reference, range(1, 12), [None] * 11), []
    summary = compare_output(out, reference, most=3, progress=counts.append)
    assert (summary.stored, summary.compared, sum(counts)) == (11, 3, 3)
    assert summary.distances[SAMPLE_TO_SOURCE].n == 0
    assert "The median distance to the nearest real face" in summary.headline()


def test_an_empty_folder_has_nothing_to_compare(tmp_path, reference):
    summary = compare_output(written(tmp_path / "out", reference, (), ()), reference)
    assert summary.headline() == "There are no samples to compare."


def test_a_stand_in_gives_no_verdict(tmp_path, reference):
    reference.embedder.is_identity, reference.embedder.same_person = False, SamePerson(float("nan"), "none")
    summary = compare_output(written(tmp_path / "out", reference, (21,), (0,)), reference)
    assert summary.same_person is None
    assert summary.distances[SAMPLE_TO_SOURCE].below is None
    assert "a stand-in that does not tell people apart, so there is no verdict" in summary.headline()
    assert hashlib.sha256(b"toy").hexdigest() == summary.sha256
