"""What `import faceaug` gives, and that it gives it late."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

import faceaug

PUBLIC = [
    "BalancedDataset", "FaceaugError", "ShardDataset", "analyze", "balance", "group_weights", "load_generator",
    "load_target", "plan", "verify",
]  # fmt: skip


def test_the_public_names_are_these():
    assert sorted(faceaug.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(faceaug))
    for name in PUBLIC:
        found = getattr(faceaug, name)
        assert callable(found)
        assert found.__doc__
        assert found.__module__.startswith("faceaug.")


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="has no attribute 'balanse'"):
        faceaug.balanse  # noqa: B018
    assert faceaug.demo.path().is_dir()


def test_the_example_of_the_package_runs():
    assert doctest.testmod(faceaug) == (0, 3)


def test_importing_is_quick_since_names_are_loaded_late():
    code = "import sys, faceaug; sys.exit(bool({'torch', 'numpy', 'pandas'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_is_that_of_the_distribution():
    try:
        installed = version("faceaug")
    except PackageNotFoundError:
        pytest.skip("faceaug is not installed in this environment")
    assert installed == faceaug.__version__
