"""Serving the explorer to a browser of this machine."""

from __future__ import annotations

import secrets
import signal
import socket
import threading
from collections.abc import Callable

import uvicorn

from faceaug.errors import UsageError
from faceaug.explorer.app import Exploration, explorer_app
from faceaug.explorer.guard import HOST

_TOKEN_BYTES = 24
_WAIT = 2  # seconds for requests in progress when the explorer is stopped


def prepare_server(exploration: Exploration, port: int) -> tuple[uvicorn.Server, socket.socket, str]:
    """Return a server, the socket that it is to be run with, and the address, which holds a new token.

    Parameters
    ----------
    exploration : Exploration
    port : int
        0 for any free one.

    Raises
    ------
    UsageError
        When the port is in use.
    """
    listening = socket.socket()
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise UsageError(f"port {port} of {HOST} cannot be used ({error.strerror}): give another --port") from error
    port, token = listening.getsockname()[1], secrets.token_urlsafe(_TOKEN_BYTES)
    config = uvicorn.Config(
        explorer_app(exploration, token, port),
        access_log=False,
        log_level="warning",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_WAIT,
    )
    return uvicorn.Server(config), listening, f"http://{HOST}:{port}/{token}/"


def serve(exploration: Exploration, port: int, announce: Callable[[str], None]) -> None:
    """Serve an explorer until Ctrl-C, and learn face quality meanwhile.

    Parameters
    ----------
    exploration : Exploration
    port : int
        0 for any free one.
    announce : callable
        Called with the address when it can be opened.

    Raises
    ------
    UsageError
        When the port is in use.
    """
    server, listening, address = prepare_server(exploration, port)
    with listening:
        if exploration.faces is not None:
            exploration.faces.quality.start()
        # In a thread of its own, the server leaves signals to the command.
        serving = threading.Thread(target=server.run, args=([listening],), name="faceaug-server")
        serving.start()
        announce(address)
        try:
            serving.join()
        except KeyboardInterrupt as error:
            server.should_exit = True
            serving.join()
            if error.args and error.args[0] != signal.SIGINT:
                raise
        finally:
            if exploration.faces is not None:
                exploration.faces.quality.stop()
