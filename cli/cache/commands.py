"""`faceaug cache`: what was learnt and measured, and is not computed again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..terminal.console import Console

if TYPE_CHECKING:
    from faceaug.cache.store import Cache, CacheEntry

_KINDS = {
    "features": "features of pictures by the pretrained network",
    "classifiers": "trained classifiers of labels",
    "fits": "all that a run learns before the first edit",
    "quality": "trained classifiers of face quality",
    "candidates": "verdicts on pictures that were made elsewhere",
    "readings": "what the held-out classifier reads from the faces of a data set",
    "measured": "measurements of view and light",
}


@click.group()
def cache() -> None:
    """List or clear what was learnt and measured on data sets, so that the next run need not do it again.

    Entries are found by the content of the pictures, labels and settings. They hold no pictures, but features and
    measurements of them. FACEAUG_CACHE names another folder, or is "off"; FACEAUG_CACHE_GB is the size of all entries
    (2 by default): those that were not used for longest are removed above it.

    \b
    Example:
      faceaug cache list
    """


@cache.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def list_entries(as_json: bool) -> None:
    """Say where the cache is, and how much of each kind it holds.

    \b
    Example:
      faceaug cache list
    """
    from faceaug.cache.store import open_cache

    found = open_cache()
    facts = _facts(found, found.entries())
    Console(as_json=as_json).show(_text(facts), facts)


@cache.command()
@click.option("--kind", type=click.Choice(list(_KINDS)), help="Remove entries of this kind alone.")
@click.option("-q", "--quiet", is_flag=True, help="No remarks.")
def clear(kind: str | None, quiet: bool) -> None:
    """Remove all entries, or those of a kind. Other files of the folder stay.

    \b
    Example:
      faceaug cache clear --kind features
    """
    from faceaug.cache.store import open_cache

    removed = open_cache().clear(kind)
    size = sum(entry.size for entry in removed)
    Console(quiet=quiet).remark(f"{len(removed):,} entries of {_megabytes(size)} were removed.")


def _facts(found: Cache, entries: Sequence[CacheEntry]) -> dict[str, Any]:
    kinds = [*_KINDS, *sorted({entry.kind for entry in entries} - set(_KINDS))]
    by_kind = {kind: [entry for entry in entries if entry.kind == kind] for kind in kinds}
    return {
        "folder": str(found.folder) if found.enabled else None,
        "max_bytes": found.max_bytes,
        "bytes": sum(entry.size for entry in entries),
        "kinds": {
            kind: {
                "entries": len(own),
                "bytes": sum(entry.size for entry in own),
                "last_used": max(entry.used for entry in own),
            }
            for kind, own in by_kind.items()
            if own
        },
    }


def _text(facts: dict[str, Any]) -> str:
    from faceaug.utils.text_table import render_table

    if facts["folder"] is None:
        return "nothing is cached: the cache is off, or its folder cannot be used"
    lines = [f"{facts['folder']}: {_megabytes(facts['bytes'])} of at most {_megabytes(facts['max_bytes'])}"]
    rows = [
        [
            kind,
            _KINDS.get(kind, ""),
            f"{own['entries']:,}",
            _megabytes(own["bytes"]),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(own["last_used"])),
        ]
        for kind, own in facts["kinds"].items()
    ]
    if rows:
        lines += ["", *render_table(["kind", "content", "entries", "size", "last used"], rows, left=2)]
    return "\n".join(lines)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
