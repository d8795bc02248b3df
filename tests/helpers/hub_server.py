"""A server on this machine that answers as the hub of Hugging Face does, as far as its file system asks."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "someone/faces"
COMMIT = "0" * 40


def _entries(files: dict[str, bytes], below: str, recursive: bool) -> list[dict[str, Any]]:
    """The files and folders below a folder, as the hub lists them."""
    found: dict[str, dict[str, Any]] = {}
    prefix = f"{below}/" if below else ""
    for name, data in files.items():
        if not name.startswith(prefix):
            continue
        parts = name[len(prefix) :].split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            folder = prefix + "/".join(parts[:depth])
            found[folder] = {"type": "directory", "path": folder, "oid": "1" * 40, "size": 0}
        if recursive or len(parts) == 1:
            oid = hashlib.sha1(data).hexdigest()
            found[name] = {"type": "file", "path": name, "oid": oid, "size": len(data)}
    return [found[name] for name in sorted(found)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]

    def log_message(self, *values: object) -> None:
        pass

    def _answer(self, data: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _missing(self, code: str) -> None:
        self._answer(b"{}", status=404, X_Error_Code=code, X_Error_Message=code)

    def do_GET(self) -> None:
        path, query = unquote(urlsplit(self.path).path), parse_qs(urlsplit(self.path).query)
        api = f"/api/datasets/{REPOSITORY}"
        if path in (api, f"{api}/revision/main"):
            info = {"id": REPOSITORY, "_id": "1", "sha": COMMIT, "private": False, "tags": [], "siblings": []}
            self._answer(json.dumps(info).encode())
        elif path.startswith(f"{api}/tree/main"):
            below = path.removeprefix(f"{api}/tree/main").strip("/")
            recursive = query.get("recursive", ["false"])[0].lower() == "true"
            self._answer(json.dumps(_entries(self.files, below, recursive)).encode())
        elif path.startswith(f"/datasets/{REPOSITORY}/resolve/main/"):
            self._file(path.removeprefix(f"/datasets/{REPOSITORY}/resolve/main/"))
        else:
            self._missing("RepoNotFound" if REPOSITORY not in path else "EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        asked_of = {"paths-info": self._paths_info, "preupload": self._preupload, "commit": self._commit}
        name = self.path.removeprefix(f"/api/datasets/{REPOSITORY}/").split("/")[0]
        if name in asked_of:
            asked_of[name](body)
        else:
            self._missing("RepoNotFound")

    def _preupload(self, body: str) -> None:
        """Say of each file that it comes within the commit, as small files do."""
        paths = [file["path"] for file in json.loads(body)["files"]]
        files = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
        self._answer(json.dumps({"files": files}).encode())

    def _commit(self, body: str) -> None:
        """Carry out a commit, or nothing of it where a file that it deletes is not there."""
        operations = [json.loads(line) for line in body.splitlines()]
        deleted = [each["value"]["path"] for each in operations if each["key"] == "deletedFile"]
        if not self.files.keys() >= set(deleted):
            self._missing("EntryNotFound")
            return
        for path in deleted:
            del self.files[path]
        for each in operations:
            if each["key"] == "file":
                self.files[each["value"]["path"]] = base64.b64decode(each["value"]["content"])
        address = f"http://{self.headers['Host']}/datasets/{REPOSITORY}/commit/{COMMIT}"
        self._answer(json.dumps({"commitUrl": address, "commitOid": COMMIT, "success": True}).encode())

    def _paths_info(self, body: str) -> None:
        asked = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        known = {entry["path"]: entry for entry in _entries(self.files, "", recursive=True)}
        paths = [asked] if isinstance(asked, str) else asked
        self._answer(json.dumps([known[path] for path in paths if path in known]).encode())

    def _file(self, name: str) -> None:
        data = self.files.get(name)
        if data is None:
            self._missing("EntryNotFound")
            return
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
        asked = self.headers.get("Range")
        if asked is None:
            self._answer(data, "application/octet-stream", **headers)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1 if last else len(data)]
        headers["Content_Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
        self._answer(part, "application/octet-stream", 206, **headers)


@contextmanager
def hub_server(files: dict[str, bytes]) -> Iterator[str]:
    """Serve the files as the data set `REPOSITORY`, which commits change; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"files": files}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
