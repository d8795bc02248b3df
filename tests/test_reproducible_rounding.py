"""A row of a matrix product does not depend on its place in the batch, on whatever processor this is."""

import os
import subprocess
import sys

import pytest

ROLLED = """
import faceaug, torch
torch.set_num_threads(1)
for inputs in (8, 10, 12, 16, 24, 100):
    for outputs in (8, 10, 16, 32):
        torch.manual_seed(0)
        layer, x = torch.nn.Linear(inputs, outputs), torch.randn(8, inputs)
        whole = layer(x)
        for shift in range(1, 8):
            assert torch.equal(layer(x.roll(shift, 0)).roll(-shift, 0), whole), (inputs, outputs, shift)
"""


def test_rows_do_not_depend_on_their_place() -> None:
    """Narrow layers are those that MKL rounds by place where it may; the process has no setting of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    done = subprocess.run([sys.executable, "-c", ROLLED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("own", ["COMPATIBLE", "AVX2"])
def test_a_setting_of_the_user_is_kept(own: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import os, faceaug; print(os.environ['MKL_CBWR'])"],
        env={**os.environ, "MKL_CBWR": own}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == own
