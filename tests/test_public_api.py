"""What `import faceaug` gives, and that it gives it late."""

from __future__ import annotations

import doctest
import importlib.util
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
from fake_estimator import fake_estimator, write_slopes

import faceaug

PUBLIC = sorted(faceaug.__all__)


def test_what_the_readme_uses_is_public():
    named = {"RunConfig", "analyze", "balance", "load_dataset", "plan", "verify", "ShardDataset", "BalancedDataset"}
    assert named <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_listed_and_documented(name):
    """Its document states parameters or attributes, and what it raises or an example."""
    found = getattr(faceaug, name)
    assert name in dir(faceaug)
    assert callable(found)
    assert found.__module__.startswith("faceaug.")
    assert found.__doc__, name
    if name != "FaceaugError":
        assert any(part in found.__doc__ for part in ("Parameters\n", "Attributes\n", "Examples\n")), name


@pytest.mark.parametrize("name", PUBLIC)
def test_each_can_be_imported_first(name):
    """A name is no module of the package, which would take its place once that is imported."""
    assert importlib.util.find_spec(f"faceaug.{name}") is None


def test_pictures_without_labels_are_measured_by_public_names_alone(tmp_path):
    faces = faceaug.load_dataset(write_slopes(tmp_path, [-0.5, 0.5]), reader="unlabelled")
    assert faceaug.measure(faces, fake_estimator())["yaw"].is_monotonic_increasing
    with pytest.raises(faceaug.FaceaugError, match=r"none\.safetensors"):
        faceaug.load_estimator(tmp_path / "none.safetensors")


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
