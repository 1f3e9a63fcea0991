"""The handler right behind a server in Rust (RSGI): no routing, no framework, no isolation."""

import json

from hello import handler

HEADERS = [("content-type", "application/json")]


async def app(_scope, protocol):
    event = json.loads(await protocol())
    protocol.response_str(200, HEADERS, json.dumps(handler(event, None), separators=(",", ":")))
