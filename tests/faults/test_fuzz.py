"""Mutated files of every kind: each reader ends with an error of faceaug or with success.

This is a sample; `benchmarks/reliability.py` runs the full campaign.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import numpy as np
import pytest
from mutations import FuzzedReader, fuzzed_readers, mutated

from faceaug.errors import FaceaugError

SAMPLE = 30


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FuzzedReader]:
    return fuzzed_readers(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.slow
def test_no_reader_raises_anything_else(readers: dict[str, FuzzedReader], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    for kind, reader in readers.items():
        whole = reader.path.read_bytes()
        reader.run(whole)
        for seed in range(SAMPLE):
            with contextlib.suppress(FaceaugError):
                reader.run(mutated(whole, np.random.default_rng([seed, len(kind)])))
        reader.path.write_bytes(whole)


def test_mutations_come_from_their_seed(tmp_path: Path) -> None:
    data = bytes(range(200))
    one, two = (mutated(data, np.random.default_rng(5)) for _ in range(2))
    assert one == two != data
