"""Records of earlier versions in the names of this one: keys when a record is loaded, options and gates in its text.

A record keeps its numbers and the names of the version that wrote it; a command that it names is the one that was run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

Record = dict[str, Any]

RENAMED_GATES = {
    "judge agrees once finished": "held-out classifier agrees after harmonization",
    "judge agrees": "held-out classifier agrees",
    "sound face": "face quality",
    "not melted": "not distorted",
    "face only": "change inside the face",
    "photograph drawn alike": "inversion close enough",
    "label read off the photograph": "label found in the photograph",
    "source not used up": "source below its limit of uses",
    "read as a face again": "face found again",
    "measured again": "measured value in its bin",
}
"""Gates by their names in records of earlier versions, and by the names that faceaug.synthesis gives now."""
RENAMED = {"--target ": "--strategy ", "soundness": "face_quality", **RENAMED_GATES}
"""Options, semantics and gates by their names in records of earlier versions, and by their present names."""
RENAMED_KEYS: dict[str, dict[str, str]] = {
    "": {"probes": "classifiers", "found": "learned_directions", "settings": "config"},
    "seconds": {
        "probes": "classifiers",
        "framing and photometry": "framing and image statistics",
        "soundness": "face quality",
        "making": "synthesis",
    },
    "classifiers": {"steering": "guidance", "judge": "held_out"},
    "measured": {"told": "accepted"},
    "variety": {"made": "synthetic"},
}
"""Keys of the records of runs of `faceaug balance`, for each part of a record (the record itself is ""): old, new."""


def load_record(path: Path) -> Record:
    """Return a record with the present names of its keys."""
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return translate(record) if "cells" in record else record


def translate(record: Record) -> Record:
    """Return the record of a run of `faceaug balance` with the keys of an earlier version under their present names."""

    def renamed(part: Any, names: dict[str, str]) -> Any:
        if isinstance(part, list):
            return [renamed(each, names) for each in part]
        return {names.get(key, key): value for key, value in part.items()} if isinstance(part, dict) else part

    record = renamed(record, RENAMED_KEYS[""])
    return {key: renamed(value, RENAMED_KEYS.get(key, {})) for key, value in record.items()}


def current(text: str) -> str:
    """Return a text with the options, gates and semantics of an earlier version under their present names."""
    pattern = "|".join(map(re.escape, sorted(RENAMED, key=len, reverse=True)))
    return re.sub(pattern, lambda found: RENAMED[found[0]], text)
