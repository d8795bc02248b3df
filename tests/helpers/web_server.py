"""A web server of this machine that shows folders as lists of files."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading


@contextlib.contextmanager
def web_server(folder):
    """Address of a folder that is served with lists of files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *values):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
