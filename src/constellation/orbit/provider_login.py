"""Logging in through a browser: who waits at a loopback address for what the browser brings back (RFC 8252)."""

from __future__ import annotations

import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from constellation.orbit.failures import OrbitError

_DONE = b"You are logged in. This page can be closed.\n"
_FAILED = b"The login failed; the program that began it says why. This page can be closed.\n"
_READ_S = 5.0  # chosen: of one request; whatever else connects holds nobody up for long


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a login is ours: the challenge goes first, the verifier with the code."""

    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)

    @property
    def challenge(self) -> str:
        return urlsafe_b64encode(sha256(self.verifier.encode()).digest()).rstrip(b"=").decode("ascii")


class Landing(HTTPServer):
    """A port of this machine where the browser ends. Use it as a context: it is open from the beginning."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Arrival)
        self.code = ""
        self.refusal = ""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def wait(self, seconds: float) -> str:
        """Return the code that the browser brings. Raises `OrbitError`: the login was refused, or nobody came."""
        until = time.monotonic() + seconds
        while not self.code and not self.refusal:
            self.timeout = until - time.monotonic()
            if self.timeout <= 0:
                raise OrbitError(
                    f"nobody logged in within {seconds:.0f} s",
                    hint="With a browser on another machine, `--paste` asks for the code that it shows.",
                )
            self.handle_request()
        if self.refusal:
            raise OrbitError(self.refusal)
        return self.code

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is nobody's business: the browser comes again, or the deadline passes."""


class _Arrival(BaseHTTPRequestHandler):
    server: Landing
    timeout = _READ_S

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path != "/" or not ("code" in query or "error" in query):
            self.send_error(404)
            return
        if "code" in query:
            self.server.code = query["code"]
        else:
            self.server.refusal = query.get("detail") or query["error"]
        body = _DONE if "code" in query else _FAILED
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the request line has the code."""
