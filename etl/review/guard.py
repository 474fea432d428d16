"""Who may ask: this machine, by the exact host, with the token in the address; changes only from our own page.

A plain ASGI wrapper, so that nothing behind it is reached by a request that it refuses.
"""

import hmac
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_LIMIT = 16 << 20  # bytes of a request: ten thousand decisions at once, taken back, are about 4 MB
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Guard:
    """Lets a request through to `inner`, without the token in its path, or answers it itself."""

    def __init__(self, inner: "ASGIApp", token: str, host: str) -> None:
        self.inner, self.token, self.host = inner, token, host

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "lifespan":
            await self.inner(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, _marked(send))

    async def _http(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        refusal = self._refusal(scope)
        if refusal:
            status, words = refusal
            await PlainTextResponse(words, status)(scope, receive, send)
            return
        rest = "/" + scope["path"].removeprefix(f"/{self.token}/")
        await self.inner({**scope, "path": rest, "raw_path": rest.encode()}, receive, send)

    def _refusal(self, scope: "Scope") -> tuple[int, str] | None:
        """Status and words for what may not be asked; None for what may."""
        headers = Headers(scope=scope)
        if headers.getlist("host") != [self.host]:  # a name that an attacker points at 127.0.0.1 is not this host
            return 403, "another host was asked for"
        first, slash, _ = scope["path"].removeprefix("/").partition("/")
        if not hmac.compare_digest(first.encode("utf-8", "surrogatepass"), self.token.encode()) or not slash:
            return 404, "nothing here: use the address that the command printed"
        if scope["method"] == "POST":
            return self._unsafe(headers)
        return None if scope["method"] in {"GET", "HEAD"} else (405, "GET, HEAD and POST only")

    def _unsafe(self, headers: Headers) -> tuple[int, str] | None:
        if headers.getlist("origin") != [f"http://{self.host}"]:
            return 403, "changes come from the page itself"
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "JSON only"
        if "transfer-encoding" in headers:  # then the length says nothing
            return 411, "a length is needed, and no chunks"
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()):
            return 411, "a length is needed"
        return (413, "too much at once") if int(length) > BODY_LIMIT else None


def _marked(send: "Send") -> "Send":
    """Puts the headers on every answer; what says nothing else may not be kept."""

    async def marked(message: "Message") -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return marked
