"""A server is a function when it listens on port 8080: each call is a POST, its body the event, the answer's the result."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETINGS = {"en": "Hello", "de": "Guten Tag", "fi": "Hei"}


class Calls(BaseHTTPRequestHandler):
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"]))) or {}
        language = event.get("language", "en")
        print("greets in", language, "for call", self.headers["Constellation-Request-Id"], flush=True)
        if language in GREETINGS:
            self.answer(200, {"greeting": f"{GREETINGS[language]}, {event.get('name', 'world')}!"})
        else:  # any status from 300 on is an error; these two members say what kind
            self.answer(422, {"errorType": "UnknownLanguage", "errorMessage": f"no greeting in {language}"})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """The platform keeps a log of calls by itself."""


ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Calls).serve_forever()
