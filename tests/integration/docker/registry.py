"""A registry of images, as small as a daemon can pull from: one layer, an image's configuration, basic authentication."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Registry:
    """What is published, and where."""

    def __init__(self, user: str, password: str) -> None:
        self.auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.port = 0
        self.manifests: dict[str, bytes] = {}  # "<repository>/<tag or digest>" -> content
        self.blobs: dict[str, bytes] = {}
        self.is_open = threading.Event()  # unset: nobody is answered
        self.is_open.set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def publish(self, repository: str, tag: str, *, marker: str) -> str:
        """Put an image with one file under a tag; return its digest."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            entry = tarfile.TarInfo("marker")
            entry.size = len(marker)
            archive.addfile(entry, io.BytesIO(marker.encode()))
        layer = gzip.compress(packed.getvalue(), mtime=0)
        config = json.dumps(
            {
                "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/marker"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(packed.getvalue())]},
            }
        ).encode()  # fmt: skip
        self.blobs |= {_digest(layer): layer, _digest(config): config}
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "size": len(config), "digest": _digest(config),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": len(layer), "digest": _digest(layer),
                    }
                ],
            }
        ).encode()  # fmt: skip
        for reference in (tag, _digest(manifest)):
            self.manifests[f"{repository}/{reference}"] = manifest
        return _digest(manifest)

    def stall(self) -> None:
        self.is_open.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        registry = self.server.registry
        registry.is_open.wait(30)
        kind, content = "application/octet-stream", None
        if self.headers.get("Authorization") != f"Basic {registry.auth}":
            self._say(401, b'{"errors": [{"code": "UNAUTHORIZED"}]}', "application/json")
            return
        if self.path == "/v2/":
            content = b"{}"
        elif "/manifests/" in self.path:
            kind, content = _MANIFEST, registry.manifests.get(self.path[4:].replace("/manifests/", "/"))
        elif "/blobs/" in self.path:
            content = registry.blobs.get(self.path.rpartition("/")[2])
        self._say(200 if content is not None else 404, content or b"{}", kind)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _say(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", _digest(content))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    registry: Registry


@contextmanager
def running_registry(*, user: str, password: str) -> Iterator[Registry]:
    """Run one on a port of loopback, which daemons take without TLS."""
    registry = Registry(user, password)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.registry = registry
        registry.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield registry
        finally:
            registry.is_open.set()
            server.shutdown()
            thread.join()
