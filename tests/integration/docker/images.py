"""Images of tests: made on the run's own daemon, of its own image and a few files."""

from __future__ import annotations

import io
import json
import tarfile

import httpx

from constellation.testing.dockerd import IMAGE

SERVER = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

print("starts", flush=True)
if os.environ.get("BREAKS"):
    sys.exit("no database")

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        does = event.get("does", "look") if isinstance(event, dict) else "look"
        print(does, flush=True)
        getattr(self, does)(event)

    def say(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def look(self, event):
        def refused(path):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
            except OSError as error:
                return error.strerror
        self.say(200, json.dumps({
            "event": event, "path": self.path, "uid": os.getuid(), "greeting": os.environ.get("GREETING"),
            "port": os.environ["PORT"], "own": os.environ.get("OWN"), "cwd": os.getcwd(),
            "refused": [refused(path) for path in ("/app/x", "/etc/x")], "wrote": refused("/tmp/x"),
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "interfaces": [line.partition(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]],
        }).encode())

    def text(self, event):
        self.say(200, "héllo".encode(), "text/plain; charset=utf-8")

    def fail(self, event):
        self.say(event.get("status", 500), json.dumps({"errorType": "Broken", "errorMessage": "on purpose"}).encode())

    def lie(self, event):
        self.say(200, b"{no json")

    def leave(self, event):
        os._exit(3)

    def sleep(self, event):
        time.sleep(event["s"])
        self.say(200, b"1")

    def stream(self, event):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            self.wfile.write(b"2\\r\\n%d\\n\\r\\n" % number)
            self.wfile.flush()
            time.sleep(0.05)
        self.wfile.write(b"0\\r\\n\\r\\n")

    def log_message(self, *args):
        pass

if not os.environ.get("DEAF"):
    ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
time.sleep(600)
"""


def make(daemon: httpx.Client, name: str, *changes: str, source: str = SERVER, version: str = "") -> str:
    """Make an image whose program is a server in Python; return its id."""
    container = daemon.post("/containers/create", json={"Image": IMAGE, "Cmd": ["sh"]}).json()["Id"]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, text in (("app/server.py", source), ("app/version", version)):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text.encode()), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    put = daemon.put(f"/containers/{container}/archive", params={"path": "/"}, content=packed.getvalue())
    assert put.status_code == 200, put.text
    repository, _, tag = name.rpartition(":")
    usual = ("WORKDIR /app", "ENV OWN=image", 'ENTRYPOINT ["python3"]', 'CMD ["/app/server.py"]')
    asked = {"container": container, "repo": repository, "tag": tag, "changes": "\n".join((*usual, *changes))}
    made = daemon.post("/commit", params=asked)
    assert made.status_code == 201, made.text
    assert daemon.delete(f"/containers/{container}").status_code == 204
    return str(json.loads(made.text)["Id"])
