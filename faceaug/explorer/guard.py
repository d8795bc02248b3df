"""What every request of the explorer must show, and every answer must say."""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from faceaug.errors import UsageError

HOST = "127.0.0.1"
MOST_JSON_BYTES = 1 << 20
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware: requests whose host or token is another one get no answer but a status.

    The host is checked since a page of another name, which resolves to this machine, could otherwise talk to the
    explorer; the token, the first part of every path, since other users and programs of this machine could.

    Parameters
    ----------
    app : ASGI application
    token : str
    port : int
        On which it is served.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token.encode()
        self._hosts = (f"{HOST}:{port}", f"localhost:{port}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        hosts = Headers(scope=scope).getlist("host")
        given = scope["path"].split("/")[1] if "/" in scope["path"] else ""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        answer: ASGIApp = self._app
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            answer = PlainTextResponse("This page has another address.", status_code=421)
        elif not secrets.compare_digest(given.encode("utf-8", "surrogateescape"), self._token):
            answer = PlainTextResponse("The address lacks its token: take it from the terminal.", status_code=403)
        await answer(scope, receive, send_with_headers)


async def body_of(request: Request, most: int) -> bytes:
    """Return the body of a request; UsageError where it is larger than `most` bytes, of which no more is kept."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise UsageError(f"more than {most >> 20} MiB were sent, which is not taken: make the file smaller")
        parts.append(part)
    return b"".join(parts)
