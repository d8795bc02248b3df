"""Merge output folders, choose samples by a condition, or divide them; each result is an output folder of its own."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from faceaug.curation.condition import matching_rows
from faceaug.curation.folders import ChosenSamples, NewFolder, header_of, write_folder
from faceaug.errors import UsageError
from faceaug.places.filesystems import is_url
from faceaug.places.uploads import check_new_destination, local_output
from faceaug.planning.budget import apportion
from faceaug.planning.plan import Plan
from faceaug.shards.columns import Column, engine_column
from faceaug.shards.description.samples_table import read_samples_table
from faceaug.shards.manifest import PLAN_NAME, SAMPLES_NAME, GeneratorRecord, Manifest
from faceaug.utils.threads import Progress

_SAME = ("dataset", "layout", "codec", "generator", "directions")
_SHARES_SUM = 1e-6  # by which shares may differ from 1 together


def merge_outputs(
    folders: Sequence[Path | str], out: Path | str, *, command: str = "faceaug.merge", progress: Progress | None = None
) -> Manifest:
    """Write the samples of several output folders to one.

    Parameters
    ----------
    folders : sequence of path or URL
        At least two, of runs on one data set with the same axes, layout, codec and generator.
    out : path or URL
        Absent, or an empty folder.
    command : str
        For the manifest.
    progress : callable (samples), optional

    Returns
    -------
    Manifest

    Raises
    ------
    UsageError
        When there are fewer than two folders, they do not fit each other, or two samples are the same.
    OutputError, IntegrityError
        See `write_folder`.
    """
    if len(folders) < 2:
        raise UsageError("a single output folder is given; name at least two to merge")
    check_new_destination(out)
    chosen = [ChosenSamples.all_of(folder) for folder in folders]
    first = chosen[0]
    for other in chosen[1:]:
        _check_alike(first, other)
    _check_distinct(chosen)
    rejected: dict[int, Counter[str]] = {}
    for each in chosen:
        for cell in each.manifest.cells:
            rejected.setdefault(cell.index, Counter()).update(cell.rejected)
    classifiers = {model.sha256: model for each in chosen for model in each.manifest.classifiers}
    engines = dict.fromkeys(str(each.manifest.config.get("engine", "")) for each in chosen)
    header = header_of(
        first.manifest,
        command,
        columns=_joined_columns(chosen),
        classifiers=tuple(classifiers.values()),
        generator=_known_generator(chosen),
        config={**first.manifest.config, "engine": ",".join(name for name in engines if name)},
    )
    about = {"folders": [each.folder.resolve().name for each in chosen]}
    return write_folder(out, chosen, NewFolder(header, "merge", rejected, about, command), progress)


def subset_output(
    folder: Path | str,
    out: Path | str,
    where: str,
    *,
    command: str = "faceaug.subset",
    progress: Progress | None = None,
) -> Manifest:
    """Write the samples of an output folder that meet a condition to another one.

    Parameters
    ----------
    folder, out : path or URL
    where : str
        A condition, see `faceaug.curation.condition`.
    command : str
        For the manifest.
    progress : callable (samples), optional

    Returns
    -------
    Manifest

    Raises
    ------
    UsageError
        When it is no condition, or no sample meets it.
    OutputError, IntegrityError
        See `write_folder`.
    """
    check_new_destination(out)
    chosen = ChosenSamples.all_of(folder)
    table = read_samples_table(chosen.folder / SAMPLES_NAME).to_pandas()
    mask = matching_rows(table, where)
    if not mask.any():
        raise UsageError(
            f"none of the {len(mask):,} samples of {folder} meets the condition {where}; nothing is written"
        )
    header = header_of(chosen.manifest, command)
    about = {"folder": chosen.folder.resolve().name, "where": where}
    return write_folder(out, [chosen.take(mask)], NewFolder(header, "subset", {}, about, command), progress)


def split_output(
    folder: Path | str,
    out: Path | str,
    shares: Sequence[float],
    *,
    names: Sequence[str] = (),
    seed: int = 0,
    command: str = "faceaug.split",
    progress: Progress | None = None,
) -> dict[str, Manifest]:
    """Divide the samples of an output folder, each cell by the same shares, into folders below `out`.

    Samples that were made from one real image go to one part where a cell allows it, so that parts share few images.

    Parameters
    ----------
    folder, out : path or URL
    shares : sequence of float
        At least two, positive, with the sum 1. Each cell is divided by largest remainders.
    names : sequence of str
        Of the parts; by default train, val and test, or part1, part2 ...
    seed : int
        Of the order in which samples are taken.
    command : str
        For the manifest.
    progress : callable (samples), optional

    Returns
    -------
    dict of str to Manifest
        The parts by their names.

    Raises
    ------
    UsageError
        When the shares or names do not fit.
    OutputError, IntegrityError
        See `write_folder`.
    """
    names = _part_names(shares, names)
    check_new_destination(out)
    chosen = ChosenSamples.all_of(folder)
    if is_url(out):
        with local_output(out) as folder:  # parts are uploaded once all of them are written
            return _write_parts(chosen, {name: folder / name for name in names}, (shares, seed), command, progress)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        return _write_parts(chosen, {name: out / name for name in names}, (shares, seed), command, progress)
    except BaseException:
        with suppress(OSError):
            out.rmdir()
        raise


def _write_parts(
    chosen: ChosenSamples,
    places: Mapping[str, Path],
    division: tuple[Sequence[float], int],
    command: str,
    progress: Progress | None,
) -> dict[str, Manifest]:
    """Write the parts of a folder, by shares and a seed; after an error none is left that could look whole."""
    shares, seed = division
    table = read_samples_table(chosen.folder / SAMPLES_NAME).to_pandas()
    part = _parts(table, shares, seed)
    header, manifests = header_of(chosen.manifest, command), {}
    try:
        for k, (name, place) in enumerate(places.items()):
            about = {"folder": chosen.folder.resolve().name, "share": shares[k], "seed": seed}
            new = NewFolder(header, "split", {}, about, command)
            manifests[name] = write_folder(place, [chosen.take(part == k)], new, progress)
    except BaseException:
        for place in places.values():
            shutil.rmtree(place, ignore_errors=True)
        raise
    return manifests


def _part_names(shares: Sequence[float], names: Sequence[str]) -> tuple[str, ...]:
    if len(shares) < 2 or not min(shares) > 0 or not abs(sum(shares) - 1) <= _SHARES_SUM:
        given = ", ".join(f"{share:g}" for share in shares)
        raise UsageError(f"the shares are {given}; give at least two positive ones with the sum 1, as 0.9,0.1")
    usual = ("train", "val", "test") if len(shares) <= 3 else tuple(f"part{k + 1}" for k in range(len(shares)))
    names = tuple(names) or usual[: len(shares)]
    if len(set(names)) != len(shares):
        raise UsageError(
            f"there are {len(shares)} shares and the names {', '.join(names)}; give a name of its own to each"
        )
    if any(Path(name).name != name or name in (".", "..") for name in names):
        raise UsageError(f"the names of parts are those of folders, without slashes, and not {', '.join(names)}")
    return names


def _parts(table: pd.DataFrame, shares: Sequence[float], seed: int) -> np.ndarray:
    """Return the part [N] of each sample: each cell divided by shares, samples of one source next to each other."""
    part, rng = np.zeros(len(table), np.int64), np.random.default_rng(seed)
    source = table["source_sha256"].fillna("") if "source_sha256" in table else pd.Series([""] * len(table))
    source = source.where(source != "", "sample " + table.index.astype(str))
    codes = rng.permutation(source.nunique())[pd.factorize(source)[0]]
    for _, rows in table.groupby("cell", sort=True).indices.items():
        ordered = rows[np.argsort(codes[rows], kind="stable")]
        counts = apportion([round(share * 1e9) for share in shares], len(rows)) if len(rows) else []
        part[ordered] = np.repeat(np.arange(len(shares)), counts)
    return part


def _check_alike(first: ChosenSamples, other: ChosenSamples) -> None:
    """Refuse a folder that cannot be told of in one manifest with the first."""
    one, two = first.manifest, other.manifest
    axes = [Plan.read(each.folder / PLAN_NAME).axes for each in (first, other)]
    if axes[0] != axes[1] or [c.attributes for c in one.cells] != [c.attributes for c in two.cells]:
        names = [", ".join(axis.name for axis in each) for each in axes]
        raise UsageError(
            f"{first.folder} counts by {names[0]} and {other.folder} by {names[1]}, or by other levels of them; merge "
            "outputs of the same axes"
        )
    for name in _SAME:
        values = [getattr(manifest, name) for manifest in (one, two)]
        if name == "generator":  # its width is not in manifests of the version before
            values = [value and value.model_copy(update={"w_dim": None}) for value in values]
        if values[0] != values[1]:
            raise UsageError(f"{first.folder} and {other.folder} have another {name}; merge outputs that share it")


def _known_generator(chosen: Sequence[ChosenSamples]) -> GeneratorRecord | None:
    """Return the generator that all folders share, with the width of its latents where one of them says it."""
    records = [each.manifest.generator for each in chosen if each.manifest.generator is not None]
    return max(records, key=lambda record: record.w_dim or 0, default=None)


def _check_distinct(chosen: Sequence[ChosenSamples]) -> None:
    """Refuse samples that are in two folders."""
    seen: dict[object, int] = {}
    for place, each in enumerate(chosen):
        table = read_samples_table(each.folder / SAMPLES_NAME).to_pandas()
        for key in _identities(table):
            if seen.setdefault(key, place) != place:
                raise UsageError(
                    f"{each.folder} and {chosen[seen[key]].folder} have a sample in common (the same picture, or the "
                    "same cell and seed); merge outputs of runs with other seeds, or take those of one with faceaug "
                    "subset"
                )


def _identities(table: pd.DataFrame) -> Iterator[object]:
    yield from table["sha256"]
    yield from zip(table["cell"].tolist(), table["seed"].tolist(), strict=True)


def _joined_columns(chosen: Sequence[ChosenSamples]) -> tuple[Column, ...]:
    """Return the columns of all folders; one name must mean one thing, but for the engines' names, which are joined."""
    columns: dict[str, Column] = {}
    engines: dict[str, None] = {}
    for each in chosen:
        for column in each.manifest.columns:
            if column.key == "engine":
                engines |= dict.fromkeys(column.levels)
                continue
            known = columns.setdefault(column.key, column)
            if (known.type, known.levels, known.unit) != (column.type, column.levels, column.unit):
                raise UsageError(
                    f"the column {column.key} of {each.folder} has another type, unit or other levels than that of "
                    f"{chosen[0].folder}; merge outputs in which it is the same"
                )
    return (engine_column(engines), *columns.values())
