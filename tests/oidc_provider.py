"""A small provider of OpenID Connect: discovery, keys, authorize and token over real HTTP, with real signatures.

What it may do wrong is an attribute each.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "constellation", "s3cret of the client"
KEYS = [RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}) for kid in ("one", "two", "nobody's")]


@dataclass
class OidcProvider:
    """`who`: the claims of whoever logs in next."""

    who: dict[str, Any] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: KEYS[0])  # that it signs with
    published: list[RSAKey] = field(default_factory=lambda: KEYS[:1])
    document: dict[str, Any] = field(default_factory=dict)  # said besides, or instead
    token: dict[str, Any] = field(default_factory=dict)  # claimed besides, or instead; None: left out
    is_unsigned: bool = False
    forgets_codes: bool = True  # that were used
    refusal: str = ""  # of whoever would log in
    asked: list[str] = field(default_factory=list)
    sids: list[str] = field(default_factory=list)  # of its own sessions
    logged_out: list[str] = field(default_factory=list)  # who ended its session there, by `sub`
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self, "")

            def do_POST(self) -> None:
                outer._answer(self, self.rfile.read(int(self.headers["content-length"])).decode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def settings(self, **more: Any) -> dict[str, Any]:
        """What the platform's configuration says of it."""
        return {"issuer": self.issuer, "client_id": CLIENT, "tenant": "default", **more}

    def _answer(self, request: BaseHTTPRequestHandler, body: str) -> None:
        url = urlsplit(request.path)
        self.asked.append(url.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        match url.path:
            case "/.well-known/openid-configuration":
                _json(request, 200, self._document())
            case "/keys":
                _json(request, 200, {"keys": [key.as_dict(private=False) for key in self.published]})
            case "/authorize":
                self._authorize(request, query)
            case "/logout":
                self._end_session(request, query)
            case "/token":
                status, answer = self._exchange(dict(parse_qsl(body)), request.headers.get("authorization", ""))
                _json(request, status, answer)
            case _:
                _json(request, 404, {})

    def _document(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "end_session_endpoint": f"{self.issuer}/logout",
            **self.document,
        }

    def _end_session(self, request: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        """End its own session, of whoever the hint is; go back where it was told to."""
        assert query["client_id"] == CLIENT
        hint = jwt.decode(query["id_token_hint"], self.key).claims
        self.logged_out.append(str(hint["sub"]))
        if "post_logout_redirect_uri" in query:
            request.send_response(302)
            request.send_header("Location", query["post_logout_redirect_uri"])
            request.send_header("Content-Length", "0")
            request.end_headers()
        else:
            _json(request, 200, {})

    def logout_token(self, *, head: dict[str, Any] | None = None, **claims: Any) -> str:
        """What it tells a client of a logout; None: left out."""
        now = int(time.time())
        said = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": secrets.token_urlsafe(),
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        } | claims  # fmt: skip
        return self._signed(said, {"typ": "logout+jwt"} if head is None else head)

    def _authorize(self, request: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        assert query["client_id"] == CLIENT
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        said = {"state": query["state"], "session_state": "of its own"}
        if self.refusal:
            said["error"] = self.refusal
        else:
            said["code"] = secrets.token_urlsafe()
            self._codes[said["code"]] = query
        request.send_response(302)
        request.send_header("Location", f"{query['redirect_uri']}?{urlencode(said)}")
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _exchange(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, str]]:
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode().split(":")
        if [unquote(part) for part in pair] != [CLIENT, SECRET]:
            return 401, {"error": "invalid_client"}
        query = self._codes.get(form["code"])
        challenge = base64.urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if query is None or challenge != query["code_challenge"] or form["redirect_uri"] != query["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        if self.forgets_codes:
            del self._codes[form["code"]]
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "nonce": query["nonce"], "iat": now, "exp": now + 300}
        self.sids.append(f"session {len(self.sids)}")
        claims["sid"] = self.sids[-1]
        claims |= self.who | self.token
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": self._signed(claims)}

    def _signed(self, claims: dict[str, Any], head: dict[str, Any] | None = None) -> str:
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.is_unsigned:
            parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
            return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."
        return jwt.encode({"alg": "RS256", "kid": self.key.get("kid"), **(head or {})}, claims, self.key)


def person(name: str, **more: Any) -> dict[str, Any]:
    """The claims of somebody."""
    return {
        "sub": f"id of {name}",
        "email": f"{name}@example.org",
        "email_verified": True,
        "name": name.title(),
        **more,
    }


def _json(request: BaseHTTPRequestHandler, status: int, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
