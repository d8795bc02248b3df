"""Ways to find the direction of an attribute, written from the papers.

All return edits of w of Mahalanobis length 1: one standard deviation of the latent coordinate along them.

- `interfacegan`: Shen, Gu, Tang, Zhou, "Interpreting the Latent Space of GANs for Semantic Face Editing" (CVPR 2020). A
  linear support vector machine separates samples with the lowest and the highest readings; the edit is the normal n of
  its hyperplane.
- `interfacegan_conditional`: the same with the normals of the other attributes projected out, as in the paper's section
  on conditional manipulation.
- `ganspace`: Härkönen, Hertzmann, Lehtinen, Paris, "GANSpace: Discovering Interpretable GAN Controls" (NeurIPS 2020).
  Principal components of w. Where w is isotropic these say nothing; then, as the paper does for BigGAN, the components
  are those of the activations of the first layer, taken back to w by least squares.
- `sefa`: Shen, Zhou, "Closed-Form Factorization of Latent Semantics in GANs" (CVPR 2021). Eigenvectors of AᵀA, with A
  the weights of the layers that read w.
- `discovered`: the directions of `faceaug discover`, each alone: the likeliest edit that moves a semantic.
- `guided`: the first, straight step of the edits of `faceaug balance`: a regression of the readings on w, other
  semantics kept, atoms spared (docs/method.md, section 5). An edit of an atom holds the others as in the atlas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from faceaug.bench.directions.attribute_readers import AttributeReaders, FitSamples
from faceaug.discovery.atlas import HELD_SLACK, held_names
from faceaug.errors import UsageError
from faceaug.generators.base import Generator
from faceaug.latents.algebra import covariance_given
from faceaug.latents.directions import Directions, inverse_of
from faceaug.latents.regression import StreamingRegression
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.synthesis.editing.readout import LIKE_SKIN, OUTSIDE
from faceaug.synthesis.fitted_models import ATOMS_STAY
from faceaug.utils.typing import Floats

METHODS_ABOUT = {
    "interfacegan": "normal of a linear SVM on samples with low and high readings (supervised)",
    "interfacegan_conditional": "the same, with the normals of the other attributes projected out",
    "ganspace": "principal component that moves the attribute most on the selection faces",
    "sefa": "eigenvector of the first layers' weights that moves the attribute most on the selection faces",
    "discovered": "direction of faceaug discover, alone",
    "guided": "first step of the edits of faceaug balance: other semantics kept",
}
_ISOTROPIC = 0.01  # relative spread of the variances of w below which its principal components say nothing
_RIDGE = 1e-6  # as in balance
_SVM_ITERATIONS = 5000


@dataclass(frozen=True, eq=False)
class LatentDirections:
    """Directions of one method.

    Attributes
    ----------
    steps : float64 [K, D]
        Edits of Mahalanobis length 1.
    names : tuple of str
        The attribute of each; empty for components, which have none.
    """

    steps: Floats
    names: tuple[str, ...]


class DirectionFinder:
    """Finds directions by all methods, from the same samples.

    Parameters
    ----------
    generator : Generator
    readers : AttributeReaders
    fit : FitSamples
    components : int
        Leading components of the methods without names.
    extremes : float
        Share of the samples at each end of the readings that InterFaceGAN learns from.
    """

    def __init__(
        self, generator: Generator, readers: AttributeReaders, fit: FitSamples, components: int, extremes: float
    ) -> None:
        self._generator, self._readers, self._fit = generator, readers, fit
        self._components, self._extremes = components, extremes
        self._covariance = np.asarray(generator.w_covariance, np.float64)
        self._precision = inverse_of(self._covariance)
        self.guidance = self._regressed()

    def find(self, method: str) -> LatentDirections:
        """Return the directions of a method.

        Raises
        ------
        UsageError
            When the generator does not say which layer reads w, and the method needs it.
        """
        if method == "ganspace":
            return self._unit(self._principal_components(), ())
        if method == "sefa":
            return self._unit(self._weight_eigenvectors(), ())
        if method == "discovered":
            directions = self._readers.bundle.directions
            names = tuple(name for name in self._readers.names if name in directions.names)
            return self._unit(np.stack([directions.steps([name])[:, 0] for name in names]), names)
        if method == "guided":
            return self._unit(np.stack([self.guided_step(name) for name in self._readers.names]), self._readers.names)
        normals = np.stack([self._svm_normal(name) for name in self._readers.names])
        if method == "interfacegan_conditional":
            normals = np.stack([_without_others(normals, k) for k in range(len(normals))])
        return self._unit(normals, self._readers.names)

    def kept(self, name: str) -> tuple[str, ...]:
        """Return the semantics that a guided edit of an attribute keeps, as balance does."""
        if name in FACTOR_NAMES:
            return tuple(other for other in FACTOR_NAMES if other != name)
        return (*(other for other in FACTOR_NAMES if other not in LIKE_SKIN), *OUTSIDE)

    def spared(self, name: str) -> Floats:
        """Return the covariance [D, D] in whose metric guided edits of a semantic of the bundle are smallest."""
        bundle = self._readers.bundle
        return covariance_given(bundle.directions, bundle.atoms, ATOMS_STAY) if bundle.atoms else self._covariance

    def guided_step(self, name: str) -> Floats:
        """Return the first step [D] of a guided edit of an attribute by one."""
        guidance, bundle = self.guidance, self._readers.bundle
        if name in bundle.directions.names and name not in FACTOR_NAMES:  # balance edits no such semantic
            given = covariance_given(guidance, held_names(bundle.directions, name), HELD_SLACK)
            return np.asarray(replace(guidance, covariance=given).steps([name])[:, 0], np.float64)
        if name in FACTOR_NAMES:
            guidance = replace(guidance, covariance=self.spared(name))
        return np.asarray(guidance.steps([name, *self.kept(name)])[:, 0], np.float64)

    def _regressed(self) -> Directions:
        """Return the linear models of all guidance readings."""
        fit, names = self._fit, self._readers.semantics
        regression = StreamingRegression(fit.w.shape[1], len(names), _RIDGE)
        regression.update(fit.w, fit.values)
        linear = regression.solve()
        mean = np.asarray(self._generator.w_mean, np.float64)
        known = dict(zip(self._readers.bundle.directions.names, self._readers.bundle.directions.kinds, strict=True))
        return Directions(
            names=names,
            kinds=tuple(known.get(name, "scene" if name in OUTSIDE else "attribute") for name in names),
            units=("",) * len(names),
            B=linear.B,
            offset=linear.predict(mean[None])[0],
            spread=fit.values.std(0),
            r2=linear.r2_train,
            w_mean=mean,
            covariance=self._covariance,
            generator=self._generator.sha256,
        )

    def _svm_normal(self, name: str) -> Floats:
        """Return the unit normal [D] of the hyperplane between low and high readings, towards the high ones."""
        from sklearn.svm import LinearSVC

        values = self._fit.values[:, self._readers.semantics.index(name)]
        order = np.argsort(values, kind="stable")
        count = max(1, int(self._extremes * len(order)))
        rows = np.concatenate([order[:count], order[-count:]])
        # One factor for all coordinates makes the penalty independent of the scale of w and leaves the normal as it is.
        scale = np.sqrt(np.trace(self._covariance) / len(self._covariance))
        x = (self._fit.w[rows] - self._generator.w_mean) / scale
        svm = LinearSVC(dual=False, max_iter=_SVM_ITERATIONS).fit(x, np.repeat([0, 1], count))
        normal = np.asarray(svm.coef_[0], np.float64)
        return np.asarray(normal / np.linalg.norm(normal), np.float64)

    def _principal_components(self) -> Floats:
        """Return the leading components [K, D] of GANSpace."""
        off = self._fit.w - self._generator.w_mean
        if not is_isotropic(self._generator):
            return _leading(off, self._components)
        weight, bias = first_affine(self._generator)
        activations = np.maximum(self._fit.w @ weight.T + bias, 0)
        centred = activations - activations.mean(0)
        coordinates = centred @ _leading(centred, self._components).T  # [N, K]
        back, *_ = np.linalg.lstsq(coordinates, off, rcond=None)
        return np.asarray(back, np.float64)

    def _weight_eigenvectors(self) -> Floats:
        """Return the leading eigenvectors [K, D] of SeFa."""
        weight, _ = first_affine(self._generator)
        _, vectors = np.linalg.eigh(weight.T @ weight)
        return _signed(vectors[:, ::-1][:, : self._components].T)

    def _unit(self, steps: Floats, names: tuple[str, ...]) -> LatentDirections:
        length = np.sqrt(np.einsum("kd,de,ke->k", steps, self._precision, steps))
        return LatentDirections(steps / length[:, None], names)


def check_methods(generator: Generator, methods: Sequence[str]) -> None:
    """Raise UsageError when a method needs the first layer of a generator that does not say which it is."""
    if "sefa" in methods or ("ganspace" in methods and is_isotropic(generator)):
        first_affine(generator)


def is_isotropic(generator: Generator) -> bool:
    """Tell whether w varies equally in all directions, so that its principal components say nothing."""
    variances = np.linalg.eigvalsh(np.asarray(generator.w_covariance, np.float64))
    return bool(variances[-1] - variances[0] <= _ISOTROPIC * variances[-1])


def first_affine(generator: Generator) -> tuple[Floats, Floats]:
    """Return weight [F, D] and bias [F] of the first layer, or layers, that read w.

    Raises
    ------
    UsageError
        When the generator does not have it; it is no part of the protocol.
    """
    found = getattr(generator, "first_affine", None)
    if found is None:
        raise UsageError(
            f"the generator {generator.name!r} does not say which layer reads w (first_affine), and sefa, and ganspace "
            "where w is isotropic, need it: leave them out of methods"
        )
    weight, bias = found
    return np.asarray(weight, np.float64), np.asarray(bias, np.float64)


def _without_others(normals: Floats, k: int) -> Floats:
    """Return normal k [D] of unit normals [A, D] without its projection on the span of the others."""
    others = np.delete(normals, k, 0)
    basis = np.linalg.qr(others.T)[0] if len(others) else np.empty((normals.shape[1], 0))
    return np.asarray(normals[k] - basis @ (basis.T @ normals[k]), np.float64)


def _leading(centred: Floats, count: int) -> Floats:
    """Return the leading principal components [K, F] of centred rows [N, F], by the smaller Gram matrix."""
    samples, features = centred.shape
    wide = features > samples
    gram = centred @ centred.T if wide else centred.T @ centred
    last = len(gram) - 1
    _, vectors = scipy.linalg.eigh(gram, subset_by_index=(max(0, last - count + 1), last))
    found = (centred.T @ vectors if wide else vectors).T[::-1]
    return _signed(found / np.linalg.norm(found, axis=1, keepdims=True))


def _signed(vectors: Floats) -> Floats:
    """Return vectors [K, D] with the largest coordinate positive: the sign depends on the library."""
    largest = vectors[np.arange(len(vectors)), np.abs(vectors).argmax(1)]
    return np.asarray(vectors * np.sign(largest)[:, None], np.float64)
