"""An output behind a URL: written to a local folder, and uploaded file by file with the manifest last."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faceaug.errors import FaceaugError, OutputError, RemoteError
from faceaug.places.filesystems import is_url, local_name, open_filesystem, remote_errors, writing_errors
from faceaug.places.uploads import check_destination, is_trial, upload_file, upload_report
from faceaug.shards.manifest import (
    CROISSANT_NAME,
    DATA_CARD_NAME,
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    MODELS_FOLDER,
    PLAN_NAME,
    SAMPLES_NAME,
    Manifest,
    hash_line,
    read_manifest,
)
from faceaug.shards.partial import is_shard_name
from faceaug.shards.takeover import SHARDS_FOLDER, refuse_taken_folder
from faceaug.utils.files import inside
from faceaug.utils.text import without_secrets
from faceaug.utils.threads import BlockProgress, BlockReport, StageProgress


class PublishedFolder:
    """A local folder and the URL that gets what is written to it.

    What is at the URL is a sound output folder at any time, or has no manifest: files are uploaded before the manifest
    that lists them, and removed after one that does not.

    Attributes
    ----------
    folder : Path
    """

    def __init__(self, url: str, folder: Path, resume: bool) -> None:
        self._filesystem, self._root = open_filesystem(url)
        self.url, self.folder = url.rstrip("/"), folder
        begun, found = _state(url, resume)
        self._there: dict[str, str] = {}
        """SHA-256 of the files that were uploaded, by name; empty where it is not known."""
        self._manifest = b""
        if begun:
            self._fetch()
        else:
            self._there = dict.fromkeys(filter(is_shard_name, found), "")  # removed when no manifest comes to list them

    def upload(self) -> None:
        """Bring the URL to the state of the folder, if there is a new manifest.

        Raises
        ------
        RemoteError
            When it cannot be written; what is there is sound still.
        """
        path = self.folder / MANIFEST_NAME
        if not path.exists() or (data := path.read_bytes()) == self._manifest:
            return
        manifest = read_manifest(self.folder)
        listed = {entry.name: entry.sha256 for entry in (*manifest.shards, *manifest.files)}
        for name in sorted(listed, key=lambda name: name != PLAN_NAME):  # first what tells that a run begins
            if self._there.get(name) != listed[name]:
                self._put(name)
        both = hash_line(data) + (hash_line(self._manifest) if self._manifest else "")
        with writing_errors(self.url):
            self._filesystem.pipe_file(f"{self._root}/{MANIFEST_HASH_NAME}", both.encode())
            self._filesystem.pipe_file(f"{self._root}/{MANIFEST_NAME}", data)
            self._filesystem.pipe_file(f"{self._root}/{MANIFEST_HASH_NAME}", hash_line(data).encode())
            self._manifest = data
            for name in set(self._there) - set(listed):
                self._filesystem.rm_file(f"{self._root}/{name}")
        self._there = listed

    def following(self, progress: StageProgress | None) -> StageProgress:
        """Return a function that uploads what is new each time that it is told of progress."""
        return _Following(self, progress)

    def _put(self, name: str) -> None:
        upload_file(self.folder, name, self.url)

    def _fetch(self) -> None:
        """Copy the state of an interrupted run to the folder."""
        (self.folder / SHARDS_FOLDER).mkdir(parents=True, exist_ok=True)  # stores of objects have no empty folders
        self._get(MANIFEST_HASH_NAME)
        self._get(MANIFEST_NAME)
        manifest: Manifest = read_manifest(self.folder)
        for entry in (*manifest.shards, *manifest.files):
            self._get(entry.name)
            self._there[entry.name] = entry.sha256
        self._manifest = (self.folder / MANIFEST_NAME).read_bytes()

    def _get(self, name: str) -> None:
        target = inside(self.folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with remote_errors(f"{self.url}/{name}"):
                self._filesystem.get_file(f"{self._root}/{name}", str(target))
        except FileNotFoundError as error:
            raise OutputError(
                f"{without_secrets(self.url)}/{name} is missing, so the run cannot continue; choose another place"
            ) from error


class _Following:
    """Uploads what is new before it passes on what it is told of progress."""

    def __init__(self, published: PublishedFolder, progress: StageProgress | None) -> None:
        self._published, self._progress = published, progress

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        self._published.upload()
        if self._progress is not None:
            self._progress(stage, done, total)

    def block(self, block: BlockReport) -> None:
        if isinstance(self._progress, BlockProgress):
            self._progress.block(block)


def _state(url: str, resume: bool) -> tuple[bool, set[str]]:
    """Return whether a run was begun at a URL, and where not, what one wrote whose first upload was interrupted."""
    filesystem, root = open_filesystem(url)
    place = without_secrets(url.rstrip("/"))
    with writing_errors(url):
        begun = filesystem.exists(f"{root}/{MANIFEST_NAME}")
        found = filesystem.find(root) if not begun and filesystem.exists(root) else []
    if begun and not resume:
        raise OutputError(f"{place} has a run; continue it with --resume, or choose another place")
    found = [path[len(root) :].lstrip("/") for path in found if not path.endswith("/")]
    names = {name for name in found if not is_trial(name)}
    shards = set(filter(is_shard_name, names))
    models = {name for name in names if name.startswith(f"{MODELS_FOLDER}/")}
    last = {SAMPLES_NAME, CROISSANT_NAME, DATA_CARD_NAME} if shards else set()  # uploaded after shards
    foreign = names - shards - models - last - {PLAN_NAME, MANIFEST_HASH_NAME}
    if foreign or (names and PLAN_NAME not in names):
        raise OutputError(f"{place} is not empty and is no output of faceaug; choose another place")
    return begun, names


def check_run_destination(place: Path | str, *, resume: bool = False) -> None:
    """Refuse a URL or folder to which a run cannot be written, before anything is read or computed.

    Parameters
    ----------
    place
    resume
        Whether a run that is there is to be continued; whether it is the same is not known yet.

    Raises
    ------
    UsageError, OutputError, RemoteError
        As `published_folder`.
    """
    if is_url(place):
        _state(str(place), resume)
    else:
        refuse_taken_folder(Path(place), resume=resume)
    check_destination(place)


@contextlib.contextmanager
def published_folder(url: str, *, resume: bool) -> Iterator[PublishedFolder]:
    """Yield a folder whose output goes to a URL, also after an error or an interruption.

    Raises
    ------
    UsageError
        When the file system is not known or its package is not installed.
    OutputError
        When something is at the URL that is no run to continue.
    RemoteError
        When it cannot be written.
    """
    name = local_name(url, open_filesystem(url)[1])
    with tempfile.TemporaryDirectory(prefix="faceaug-out-") as staging:
        published = PublishedFolder(url, Path(staging) / name, resume)
        check_destination(url)
        try:
            yield published
        except BaseException:
            with contextlib.suppress(FaceaugError, RemoteError):  # the first error is raised
                published.upload()
            raise
        upload_report(published.folder, published.url)
        published.upload()
